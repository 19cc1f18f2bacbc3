/** What an unasked line of an AT modem means to the machine. Pure; most lines mean nothing to it. */
import type { DriverEvent, Registration } from '../../driver';
import { readNetDevStatus } from './data-replies';
import { fieldsOf, wholeOf } from './fields';
import { readCpin, registrationOf } from './replies';
import type { Urc } from './urcs';

/** `known` is the last registration that was read: an unasked line has no carrier in it. */
export function eventOf(urc: Urc, known: Registration | null): DriverEvent | null {
  const fields = fieldsOf(urc.rest);
  switch (urc.name) {
    case '+CREG':
    case '+CGREG':
    case '+CEREG':
    case '+C5GREG':
      return registrationEvent(urc, known);
    case '+CPIN': {
      const sim = readCpin([`+CPIN: ${urc.rest}`]);
      return sim ? { kind: 'sim', sim } : null;
    }
    case '+QSIMSTAT':
      return fields[1] === '0' ? { kind: 'sim', sim: { state: 'absent' } } : null;
    case '+CMTI':
    case '+CMT':
      return { kind: 'message-received' };
    case '+QNETDEVSTATUS': {
      const connected = readNetDevStatus(fields);
      return connected === null ? null : { kind: 'bearer', connected };
    }
    case '^NDISSTAT': {
      const state = wholeOf(fields[0]);
      return state === 0 || state === 1 ? { kind: 'bearer', connected: state === 1 } : null;
    }
    case '+CGEV':
      // `NW DETACH`, `ME DETACH`, `NW PDN DEACT 1`, `ME PDN DEACT 1`: whoever did it, the data is gone.
      return /\b(DETACH|PDN DEACT)\b/.test(urc.rest) ? { kind: 'bearer', connected: false } : null;
    case 'POWERED DOWN':
    case 'NORMAL POWER DOWN':
      return { kind: 'gone', reason: 'the modem has switched itself off' };
    default:
      return null;
  }
}

/**
 * Losing one domain is not losing the registration, and gaining CREG is not gaining data; but a line that says
 * "registered" or "denied" of the packet domain is worth telling at once. The rest is for the next read.
 */
function registrationEvent(urc: Urc, known: Registration | null): DriverEvent | null {
  if (urc.name === '+CREG') return null;
  const line = registrationOf(fieldsOf(urc.rest));
  if (!line) return null;
  const served = line.state === 'registered' || line.state === 'roaming';
  return {
    kind: 'registration',
    registration: {
      state: line.state,
      carrier: served ? (known?.carrier ?? null) : null,
      plmn: served ? (known?.plmn ?? null) : null,
      technology: served ? (line.technology ?? known?.technology ?? null) : null,
    },
  };
}
