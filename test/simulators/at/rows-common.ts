/** Commands that every simulated modem answers alike: V.250, TS 27.007, TS 27.005. */
import type { ModemState } from './modem-state';
import {
  accepts,
  done,
  error,
  failsCme,
  failsCms,
  type Reply,
  type RowTable,
  says,
  simRefusal,
  withSim,
} from './row';

const V250 = '3gpp-27007: V.250';
const T27007 = '3gpp-27007';
const T27005 = '3gpp-27005';
type Domain = '+CREG' | '+CGREG' | '+CEREG' | '+C5GREG';

export const COMMON: RowTable = {
  '': { source: V250, answer: () => done },
  Z: { source: V250, answer: () => done },
  '&F': { source: V250, answer: () => done },
  '&D': { source: 'quectel-ec2x-at: AT&D', answer: () => done },
  Q: { source: V250, answer: () => done },
  I: {
    source: 'quectel-ec2x-at: ATI',
    answer: ({ model }) => says(model.maker, model.name, `Revision: ${model.firmware}`),
  },
  '+CGMI': { source: T27007, answer: modem => says(modem.model.maker) },
  '+GMI': { source: V250, answer: modem => says(modem.model.maker) },
  '+CGMM': { source: T27007, answer: modem => says(modem.model.name) },
  '+GMM': { source: V250, answer: modem => says(modem.model.name) },
  '+CGMR': { source: T27007, answer: modem => says(modem.model.firmware) },
  '+GMR': { source: V250, answer: modem => says(modem.model.firmware) },
  '+CGSN': { source: 'quectel-ec2x-at: bare IMEI', answer: modem => says(modem.imei) },
  '+GSN': { source: 'quectel-ec2x-at: bare IMEI', answer: modem => says(modem.imei) },
  '+CIMI': withSim(T27007, modem => says(modem.imsi)),

  '+CPIN?': {
    source: '3gpp-27007 8.3; quectel-ec2x-at: CME 10, 13, 14',
    answer: modem => {
      if (modem.cfun === 0) return failsCme(13);
      if (modem.simIsBusy) return failsCme(14);
      const said = { ready: 'READY', pin: 'SIM PIN', puk: 'SIM PUK', absent: null, failed: null }[
        modem.sim.state
      ];
      return said === null ? failsCme(modem.sim.state === 'absent' ? 10 : 13) : says(`+CPIN: ${said}`);
    },
  },
  '+CPIN=': { source: '3gpp-27007 8.3', answer: enterPin },
  '+CMEE=': {
    source: T27007,
    answer: (modem, args) => {
      if (!/^[012]$/.test(args)) return null;
      modem.cmee = Number(args) as 0 | 1 | 2;
      return done;
    },
  },
  '+CMEE?': { source: T27007, answer: modem => says(`+CMEE: ${modem.cmee}`) },

  ...registrationRowsOf('+CREG'),
  ...registrationRowsOf('+CGREG'),
  ...registrationRowsOf('+CEREG'),
  '+COPS?': {
    source: 'quectel-ec2x-at: AT+COPS?',
    answer: modem => {
      const mode = modem.copsOff ? 2 : 0;
      if (!modem.registered) return says(`+COPS: ${mode}`);
      const name = modem.copsFormat === 2 ? modem.network.plmn : modem.network.carrier;
      return says(`+COPS: ${mode},${modem.copsFormat},"${name}",${modem.accessTechnology}`);
    },
  },
  '+COPS=': { source: 'quectel-ec2x-at: AT+COPS', answer: setOperator },
  '+COPS=?': {
    source: 'quectel-ec2x-at: AT+COPS=?, up to 180 s',
    answer: modem => ({
      ...says(
        `+COPS: (2,"${modem.network.carrier}","MT","${modem.network.plmn}",7),(1,"MTS RUS","MTS","25001",7),(3,"Other","OT","00102",2),,(0-4),(0-2)`,
      ),
      takesMs: modem.network.scanMs,
    }),
  },
  '+CSQ': {
    source: 'quectel-ec2x-at: AT+CSQ',
    answer: modem => says(modem.registered ? '+CSQ: 22,99' : '+CSQ: 99,99'),
  },
  '+CESQ': {
    source: '3gpp-27007 8.69',
    answer: modem => says(modem.registered ? '+CESQ: 99,99,255,255,20,46' : '+CESQ: 99,99,255,255,255,255'),
  },
  '+CGATT?': { source: T27007, answer: modem => says(`+CGATT: ${modem.registered ? 1 : 0}`) },
  '+CGATT=': {
    source: 'quectel-ec2x-at: up to 140 s',
    answer: (modem, args) => {
      if (!/^[01]$/.test(args)) return null;
      modem.attached = args === '1';
      modem.review();
      return { ...done, takesMs: 300 };
    },
  },

  '+CGDCONT?': {
    source: 'quectel-ec2x-at: AT+CGDCONT?',
    answer: modem =>
      says(
        ...[...modem.contexts].map(
          ([id, { type, apn }]) => `+CGDCONT: ${id},"${type}","${apn}","0.0.0.0",0,0,0,0`,
        ),
      ),
  },
  '+CGDCONT=': {
    source: 'quectel-ec2x-at: not while the context is active',
    answer: (modem, args) => {
      const found = /^(\d+),"(IP|IPV6|IPV4V6)","([^"]*)"$/.exec(args);
      if (!found) return null;
      if (modem.registered) return failsCme(3);
      modem.contexts.set(Number(found[1]), { type: found[2] ?? '', apn: found[3] ?? '' });
      return done;
    },
  },
  '+CGAUTH=': {
    source: T27007,
    answer: (modem, args) => {
      const found = /^(\d+),([012]),"([^"]*)","([^"]*)"$/.exec(args);
      if (!found) return null;
      modem.authentication.set(Number(found[1]), `${found[3]}:${found[4]}`);
      return done;
    },
  },
  '+CGACT?': { source: T27007, answer: modem => says(`+CGACT: 1,${modem.call === 'up' ? 1 : 0}`) },
  '+CGACT=': {
    source: '3gpp-27007 10.1.10',
    answer: (modem, args) => {
      if (!/^[01],1$/.test(args)) return null;
      return args.startsWith('1') ? dial(modem) : hangUp(modem);
    },
  },
  '+CGPADDR=': {
    source: 'quectel-ec2x-at: AT+CGPADDR',
    answer: (modem, args) => {
      if (args !== '1') return null;
      return says(`+CGPADDR: 1,"${modem.address ?? '0.0.0.0'}"`);
    },
  },
  '+CGCONTRDP=': {
    source: '3gpp-27007 10.1.23',
    answer: (modem, args) => {
      if (args !== '1') return null;
      if (modem.address === null) return done;
      const apn = `${modem.contexts.get(1)?.apn}.mnc001.mcc001.gprs`;
      return says(
        `+CGCONTRDP: 1,5,"${apn}","${modem.address}.255.255.255.0","10.76.51.1",${modem.network.dnsServers.map(one => `"${one}"`).join(',')}`,
      );
    },
  },
  '+CGPIAF=': accepts(T27007, /^[01],[01],[01],[01]$/),
  '+CFUN?': { source: T27007, answer: modem => says(`+CFUN: ${modem.cfun}`) },
  '+CFUN=': { source: 'quectel-ec2x-at: AT+CFUN, up to 15 s', answer: setFunctionality },

  '+CMGF=': { source: T27005, answer: setForm },
  '+CMGF?': { source: T27005, answer: modem => says(`+CMGF: ${modem.textForm ? 1 : 0}`) },
  '+CSCS=': {
    source: T27007,
    answer: (modem, args) => {
      const found = /^"(GSM|IRA|UCS2)"$/.exec(args);
      if (!found) return null;
      modem.letters = found[1] ?? 'GSM';
      return done;
    },
  },
  '+CSCS?': { source: T27007, answer: modem => says(`+CSCS: "${modem.letters}"`) },
  '+CSCS=?': { source: T27007, answer: () => says('+CSCS: ("GSM","IRA","UCS2")') },
  '+CPMS=': withSim('quectel-ec2x-at: AT+CPMS', (modem, args) => {
    const found = /^"(ME|SM|MT)"(,"(ME|SM|MT)"){0,2}$/.exec(args);
    if (!found) return null;
    modem.store = found[1] ?? 'ME';
    const used = `${modem.storedHere.length},255`;
    return says(`+CPMS: ${used},${used},${used}`);
  }),
  '+CPMS?': withSim(T27005, modem => {
    const one = `"${modem.store}",${modem.storedHere.length},255`;
    return says(`+CPMS: ${one},${one},${one}`);
  }),
  '+CPMS=?': { source: T27005, answer: () => says('+CPMS: ("ME","SM"),("ME","SM"),("ME","SM")') },
  '+CNMI?': { source: T27005, answer: () => says('+CNMI: 2,1,0,0,0') },
  '+CNMI=?': { source: T27005, answer: () => says('+CNMI: (0-2),(0-3),(0,2,3),(0-2),(0,1)') },
  '+CNMI=': accepts('quectel-ec2x-at: AT+CNMI', /^\d(,\d){0,4}$/),
  '+CMGL=': withSim('quectel-ec2x-at: AT+CMGL', listMessages),
  '+CMGR=': withSim('quectel-ec2x-at: AT+CMGR', (modem, args) => {
    if (!/^\d+$/.test(args)) return null;
    const found = modem.storedHere.find(one => one.index === Number(args));
    if (!found) return failsCms(321);
    const reply = says(`+CMGR: ${found.unread ? 0 : 1},,${tpduOctets(found.pdu)}\n${found.pdu}`);
    found.unread = false;
    return reply;
  }),
  '+CMGD=': withSim('quectel-ec2x-at: AT+CMGD', (modem, args) => {
    if (!/^\d+(,[0-4])?$/.test(args)) return null;
    const before = modem.messages.length;
    const index = Number.parseInt(args, 10);
    modem.messages = modem.messages.filter(one => one.store !== modem.store || one.index !== index);
    return modem.messages.length < before ? done : failsCms(321);
  }),
};

/** Read and set of one domain. The read names its mode first, an unasked line does not. */
export function registrationRowsOf(name: Domain): RowTable {
  return {
    [`${name}?`]: {
      source: 'quectel-ec2x-at; quectel-rm5-network: registration reads',
      answer: modem => {
        const mode = modem.registrationReports[name];
        const stat = servedBy(modem, name) ? modem.registrationStat : 0;
        const place =
          mode >= 2 && stat !== 0 && modem.registered ? `,"DE10","5F1EA15",${modem.accessTechnology}` : '';
        const slice = name === '+C5GREG' && place !== '' ? ',4,"01.000000"' : '';
        return says(`${name}: ${mode},${stat}${place}${slice}`);
      },
    },
    [`${name}=`]: {
      source: '3gpp-27007 7.2, 10.1.20, 10.1.22',
      answer: (modem, args) => {
        if (!/^[0-2]$/.test(args)) return null;
        modem.registrationReports[name] = Number(args);
        return done;
      },
    },
  };
}

/** On LTE without voice over it, CREG stays at 0 while CEREG is 1; on NR alone only C5GREG tells. */
function servedBy(modem: ModemState, name: Domain): boolean {
  const technology = modem.accessTechnology;
  if (name === '+C5GREG') return technology === 11;
  if (name === '+CEREG') return technology === 7;
  return technology === 2;
}

function enterPin(modem: ModemState, args: string): Reply | null {
  const found = /^"?(\d{4,8})"?$/.exec(args);
  if (!found) return null;
  const { sim } = modem;
  if (sim.state !== 'pin') return simRefusal(modem) ?? failsCme(3);
  if (found[1] !== sim.pin) {
    sim.pinTries -= 1;
    if (sim.pinTries === 0) sim.state = 'puk';
    return failsCme(sim.pinTries === 0 ? 12 : 16);
  }
  sim.state = 'ready';
  sim.pinTries = 3;
  return {
    ...done,
    takesMs: 200,
    afterwards: () => {
      modem.say('+CPIN: READY');
      modem.review();
    },
  };
}

function setOperator(modem: ModemState, args: string): Reply | null {
  const found = /^([0-4])(?:,([012])(?:,"(\d{5,6})")?)?$/.exec(args);
  if (!found) return null;
  if (found[2] !== undefined) modem.copsFormat = Number(found[2]);
  if (found[1] === '3') return done;
  modem.copsOff = found[1] === '2';
  modem.review();
  // Automatic selection answers once it has found a carrier, or has given up.
  return { ...done, takesMs: modem.copsOff ? 800 : modem.network.registrationDelayMs + 100 };
}

function setFunctionality(modem: ModemState, args: string): Reply | null {
  if (args === '1,1') return { ...done, takesMs: 300, afterwards: () => modem.restart() };
  if (!/^[014]$/.test(args)) return null;
  const value = Number(args) as 0 | 1 | 4;
  const wasOff = modem.cfun !== 1;
  modem.cfun = value;
  modem.review();
  return {
    ...done,
    takesMs: 600,
    afterwards: () => {
      if (value === 1 && wasOff && modem.sim.state === 'ready') modem.say('+CPIN: READY');
    },
  };
}

function setForm(modem: ModemState, args: string): Reply | null {
  if (!/^[01]$/.test(args)) return null;
  modem.textForm = args === '1';
  return done;
}

function listMessages(modem: ModemState, args: string): Reply | null {
  if (modem.textForm ? args !== '"ALL"' : args !== '4') return null;
  const here = modem.storedHere;
  const lines = here.map(one => {
    if (!modem.textForm)
      return `+CMGL: ${one.index},${one.unread ? 0 : 1},,${tpduOctets(one.pdu)}\n${one.pdu}`;
    const status = one.unread ? 'REC UNREAD' : 'REC READ';
    const words = (text: string) => (modem.letters === 'UCS2' ? ucs2(text) : text);
    return `+CMGL: ${one.index},"${status}","${words(one.sender)}",,"${one.time}"\n${words(one.text)}`;
  });
  return {
    ...says(...lines),
    afterwards: () => {
      for (const one of here) one.unread = false;
    },
  };
}

function tpduOctets(pdu: string): number {
  return pdu.length / 2 - 1 - Number.parseInt(pdu.slice(0, 2), 16);
}

export function ucs2(text: string): string {
  return Buffer.from(text, 'utf16le').swap16().toString('hex').toUpperCase();
}

/** Credit decides: 133 is "requested service option not subscribed" (3gpp-27007 9.2.2). */
export function dial(modem: ModemState): Reply {
  if (!modem.registered) return modem.model.family === 'huawei' ? failsCme(100) : error;
  if (modem.network.credit === 'refused') return { ...failsCme(133), takesMs: modem.network.dialDelayMs };
  modem.dial();
  return { ...done, takesMs: modem.network.dialDelayMs };
}

export function hangUp(modem: ModemState): Reply {
  modem.hangUp();
  return { ...done, takesMs: 200 };
}
