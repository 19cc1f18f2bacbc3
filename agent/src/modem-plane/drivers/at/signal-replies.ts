/**
 * Reply lines → signal and cell (TS 27.007 8.5 and 8.69; Quectel QENG and QCSQ; Huawei HCSQ). Pure. Units differ by
 * model: those that do are conversions of the profile, the others are fixed by their standard. What a technology does
 * not have, or the modem marks as unknown, is null.
 */
import type { Conversion } from '@mastline/shared/profile/schema';
import type { Cell, Signal } from '../../driver';
import { allFieldsNamed, fieldsNamed, hexOf, wholeOf, wholeWithin } from './fields';

export const NO_SIGNAL: Readonly<Signal> = { rssiDbm: null, rsrpDbm: null, rsrqDb: null, sinrDb: null };

/** dB or dBm of a raw number, to a tenth. */
export function convert(field: string | undefined, conversion: Conversion): number | null {
  const raw = wholeWithin(field, conversion.min, conversion.max);
  return raw === null ? null : Math.round((raw * conversion.scale + conversion.offset) * 10) / 10;
}

/** Plausible ranges of TS 36.133 and 38.133 (wide), beyond which a number is a marker. */
const rsrp = (field: string | undefined) => wholeWithin(field, -156, -30);
const rsrq = (field: string | undefined) => wholeWithin(field, -43, 20);
const rssi = (field: string | undefined) => wholeWithin(field, -130, -10);
const nrSinr = (field: string | undefined) => wholeWithin(field, -23, 40);

/** `+CSQ: 22,99`: dBm = 2n − 113; 99 unknown. */
export function readCsq(lines: readonly string[]): Signal | null {
  const fields = fieldsNamed(lines, '+CSQ');
  if (!fields || wholeOf(fields[0]) === null) return null;
  return { ...NO_SIGNAL, rssiDbm: convert(fields[0], { scale: 2, offset: -113, min: 0, max: 31 }) };
}

/** `+CESQ: rxlev,ber,rscp,ecno,rsrq,rsrp`: rsrq = n/2 − 20, rsrp = n − 141, rxlev = n − 111; 99 and 255 unknown. */
export function readCesq(lines: readonly string[]): Signal | null {
  const fields = fieldsNamed(lines, '+CESQ');
  if (!fields || fields.length < 6) return null;
  return {
    rssiDbm: convert(fields[0], { scale: 1, offset: -111, min: 0, max: 63 }),
    rsrpDbm: convert(fields[5], { scale: 1, offset: -141, min: 0, max: 97 }),
    rsrqDb: convert(fields[4], { scale: 0.5, offset: -20, min: 0, max: 34 }),
    sinrDb: null,
  };
}

/** `+QCSQ: "LTE",rssi,rsrp,sinr,rsrq` | `"NR5G",rsrp,sinr,rsrq` | `"WCDMA",rssi,rscp,ecio` | `"GSM",rssi`. */
export function readQcsq(lines: readonly string[], lteSinr: Conversion): Signal | null {
  const all = allFieldsNamed(lines, '+QCSQ');
  if (all.length === 0) return null;
  let signal: Signal = { ...NO_SIGNAL };
  for (const [system = '', a, b, c, d] of all) {
    if (system === 'LTE' || system.startsWith('CAT'))
      signal = { rssiDbm: rssi(a), rsrpDbm: rsrp(b), rsrqDb: rsrq(d), sinrDb: convert(c, lteSinr) };
    else if (system.startsWith('NR5G') && signal.rsrpDbm === null)
      signal = { ...signal, rsrpDbm: rsrp(a), rsrqDb: rsrq(c), sinrDb: nrSinr(b) };
    else if (system === 'WCDMA' || system === 'GSM') signal = { ...NO_SIGNAL, rssiDbm: rssi(a) };
  }
  return signal;
}

/** `^HCSQ:"LTE",rssi,rsrp,sinr,rsrq`: rssi = n − 121, rsrp = n − 141, sinr = n/5 − 20.2, rsrq = n/2 − 20; 255 unknown. */
export function readHcsq(lines: readonly string[]): Signal | null {
  const fields = fieldsNamed(lines, '^HCSQ');
  if (!fields) return null;
  const [system, a, b, c, d] = fields;
  const rssiDbm = convert(a, { scale: 1, offset: -121, min: 0, max: 96 });
  if (system === 'LTE')
    return {
      rssiDbm,
      rsrpDbm: convert(b, { scale: 1, offset: -141, min: 0, max: 97 }),
      rsrqDb: convert(d, { scale: 0.5, offset: -20, min: 0, max: 34 }),
      sinrDb: convert(c, { scale: 0.2, offset: -20.2, min: 0, max: 251 }),
    };
  if (system === 'WCDMA' || system === 'GSM') return { ...NO_SIGNAL, rssiDbm };
  return system === 'NOSERVICE' ? { ...NO_SIGNAL } : null;
}

/** What `AT+QENG="servingcell"` says, of the leg that carries the data (NR where there is one). */
export interface ServingCell {
  signal: Signal;
  cell: Cell;
  nr: boolean;
}

export const NO_CELL: Readonly<Cell> = { cellId: null, pci: null, channel: null, band: null };

/** Null when no line makes sense; without service both signal and cell are empty. */
export function readServingCell(lines: readonly string[], lteSinr: Conversion): ServingCell | null {
  const legs: ServingCell[] = [];
  let heard = false;
  for (const fields of allFieldsNamed(lines, '+QENG')) {
    const said = fields[0] === 'servingcell' ? fields.slice(2) : fields;
    if (fields[0] === 'servingcell') heard = true;
    const leg = readLeg(said, lteSinr);
    if (leg) legs.push(leg);
  }
  if (!heard && legs.length === 0) return null;
  const lte = legs.find(leg => !leg.nr);
  const nr = legs.find(leg => leg.nr);
  if (!nr) return lte ?? { signal: { ...NO_SIGNAL }, cell: { ...NO_CELL }, nr: false };
  // The NR leg of EN-DC has no cell identity of its own: the anchor's tells where the modem is.
  return { ...nr, cell: { ...nr.cell, cellId: nr.cell.cellId ?? lte?.cell.cellId ?? null } };
}

function readLeg(fields: readonly string[], lteSinr: Conversion): ServingCell | null {
  const at = (i: number) => fields[i];
  switch (fields[0]) {
    case 'LTE':
    case 'CAT-M':
    case 'CAT-NB':
      return {
        nr: false,
        signal: {
          rsrpDbm: rsrp(at(11)),
          rsrqDb: rsrq(at(12)),
          rssiDbm: rssi(at(13)),
          sinrDb: convert(at(14), lteSinr),
        },
        cell: {
          cellId: identityOf(at(4)),
          pci: wholeWithin(at(5), 0, 503),
          channel: channelOf(at(6)),
          band: bandOf('B', at(7)),
        },
      };
    case 'NR5G-NSA':
      return {
        nr: true,
        signal: { rssiDbm: null, rsrpDbm: rsrp(at(4)), sinrDb: nrSinr(at(5)), rsrqDb: rsrq(at(6)) },
        cell: {
          cellId: null,
          pci: wholeWithin(at(3), 0, 1007),
          channel: channelOf(at(7)),
          band: bandOf('n', at(8)),
        },
      };
    case 'NR5G-SA':
      return {
        nr: true,
        signal: { rssiDbm: null, rsrpDbm: rsrp(at(10)), rsrqDb: rsrq(at(11)), sinrDb: nrSinr(at(12)) },
        cell: {
          cellId: identityOf(at(4)),
          pci: wholeWithin(at(5), 0, 1007),
          channel: channelOf(at(7)),
          band: bandOf('n', at(8)),
        },
      };
    case 'WCDMA':
      // RSCP is not RSRP: a 3G cell has neither RSRP nor RSRQ nor SINR.
      return {
        nr: false,
        signal: { ...NO_SIGNAL },
        cell: {
          cellId: identityOf(at(4)),
          pci: wholeWithin(at(6), 0, 511),
          channel: channelOf(at(5)),
          band: null,
        },
      };
    case 'GSM':
      return {
        nr: false,
        signal: { ...NO_SIGNAL },
        cell: { cellId: identityOf(at(4)), pci: null, channel: channelOf(at(6)), band: null },
      };
    default:
      return null;
  }
}

/** Hexadecimal in, decimal out, as other modems and cell databases have it. */
function identityOf(field: string | undefined): string | null {
  const value = hexOf(field);
  return value === null || value === 0 ? null : String(value);
}

function channelOf(field: string | undefined): number | null {
  return wholeWithin(field, 0, 3_279_165);
}

function bandOf(letter: 'B' | 'n', field: string | undefined): string | null {
  const band = wholeWithin(field, 1, 512);
  return band === null ? null : `${letter}${band}`;
}
