/** Commands of Huawei sticks in stick mode (E3372 with firmware 21.x). */
import type { ModemState } from './modem-state';
import { accepts, done, failsCme, type RowTable, refuses, says, withSim } from './row';
import { dial, hangUp } from './rows-common';

const MM = 'modemmanager: huawei plugin';
const NOT_SUPPORTED = { final: { words: 'COMMAND NOT SUPPORT' } } as const;

export const HUAWEI: RowTable = {
  '^CURC=': {
    source: MM,
    answer: (modem, args) => {
      if (!/^[01]$/.test(args)) return null;
      modem.chatter = args === '1';
      return done;
    },
  },
  '^PORTSEL=': accepts('modemmanager: old sticks want it to send unasked lines here', /^[01]$/),
  '^ICCID?': withSim(MM, modem => says(`^ICCID: ${modem.iccid}F`)),
  '^CPIN?': {
    source: `${MM}: tries of PUK, PIN, PUK2, PIN2`,
    answer: modem => {
      const said = { ready: 'READY', pin: 'SIM PIN', puk: 'SIM PUK', absent: null, failed: null }[
        modem.sim.state
      ];
      if (said === null) return failsCme(modem.sim.state === 'absent' ? 10 : 13);
      return says(`^CPIN: ${said},,${modem.pukTries},${modem.sim.pinTries},10,3`);
    },
  },
  '^HCSQ?': {
    source: `${MM}: units of HCSQ`,
    answer: modem =>
      says(
        !modem.registered
          ? '^HCSQ: "NOSERVICE"'
          : modem.accessTechnology === 2
            ? '^HCSQ: "WCDMA",51,41,53'
            : '^HCSQ: "LTE",53,41,141,22',
      ),
  },
  '^SYSINFOEX': {
    source: MM,
    answer: modem =>
      says(
        modem.registered
          ? `^SYSINFOEX:2,3,${modem.network.roaming ? 1 : 0},1,,${modem.accessTechnology === 2 ? '3,"WCDMA",41,"WCDMA"' : '6,"LTE",101,"LTE"'}`
          : '^SYSINFOEX:0,0,0,1,,0,"NO SERVICE",0,"NO SERVICE"',
      ),
  },
  '^SYSCFGEX?': {
    source: MM,
    answer: modem => says(`^SYSCFGEX:"${modem.mode}",3FFFFFFF,1,2,7FFFFFFFFFFFFFFF`),
  },
  '^SYSCFGEX=': {
    source: MM,
    answer: (modem, args) => {
      const found = /^"(\d{2,8})",[0-9A-F]+,[0-3],[0-3],[0-9A-F]+,,$/i.exec(args);
      if (!found) return null;
      modem.mode = found[1] ?? '00';
      return { ...done, takesMs: 500, afterwards: () => modem.reregister() };
    },
  },
  '^NDISDUP=': {
    source: `${MM}: refused before registration`,
    answer: (modem, args) => {
      if (args === '1,0') return hangUp(modem);
      const found = /^1,1(?:,"([^"]*)"(?:,"([^"]*)","([^"]*)",[123])?)?$/.exec(args);
      if (!found) return null;
      if (found[1] !== undefined) modem.contexts.set(1, { type: 'IP', apn: found[1] });
      if (found[2] !== undefined) modem.authentication.set(1, `${found[2]}:${found[3]}`);
      // The stick says OK at once and dials afterwards.
      return { ...dial(modem), takesMs: 100 };
    },
  },
  '^NDISSTATQRY?': {
    source: MM,
    answer: modem => says(`^NDISSTATQRY: ${{ down: 0, dialling: 3, up: 1 }[modem.call]},,,"IPV4"`),
  },
  '^DHCP?': {
    source: `${MM}: 32 bits, least byte first, without leading zeros`,
    answer: modem => {
      if (modem.call !== 'up' || modem.address === null) return failsCme(100);
      const gateway = modem.address.replace(/\.\d+$/, '.1');
      const words = [modem.address, '255.255.255.252', gateway, gateway, ...modem.network.dnsServers];
      return says(`^DHCP: ${words.map(littleEndian).join(',')},150000000,50000000`);
    },
  },
  '^DSFLOWQRY': {
    source: `${MM}: hexadecimal`,
    answer: ({ bytes }) => {
      const [sent, received] = [hex(bytes.sent), hex(bytes.received)];
      return says(`^DSFLOWQRY:00000E10,${sent},${received},00001C20,${sent},${received}`);
    },
  },
  '^RESET': {
    source: MM,
    answer: (modem: ModemState) => ({ ...done, takesMs: 100, afterwards: () => modem.restart() }),
  },
  '^HWVER': { source: MM, answer: () => says('^HWVER:"CL2E3372HM"') },
  '+CGPIAF=': refuses('assumed: not in any list of this firmware', NOT_SUPPORTED),
  '+CNMI=': accepts('modemmanager: message reports on Huawei', /^\d(,\d){0,4}$/),
};

function littleEndian(address: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number);
  const text = [d, c, b, a].map(one => one.toString(16).padStart(2, '0')).join('');
  return text.toUpperCase().replace(/^0+/, '') || '0';
}

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(16, '0');
}
