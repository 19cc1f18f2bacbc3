/** Commands of Quectel modules: EC25 and its kin, and RM5xx. Cell and signal lines are recorded forms. */
import type { ModemState } from './modem-state';
import { accepts, done, error, failsCme, type Reply, type RowTable, says, withSim } from './row';
import { dial, hangUp, registrationRowsOf } from './rows-common';

const EC2X = 'quectel-ec2x-at';
const RM5 = 'quectel-rm5-network';

const SHARED: RowTable = {
  '+QCCID': withSim(`${EC2X}: may end in F`, modem => says(`+QCCID: ${modem.iccid}F`)),
  '+QPINC?': {
    source: `${EC2X}: AT+QPINC`,
    answer: modem => says(`+QPINC: "SC",${modem.sim.pinTries},${modem.pukTries}`, `+QPINC: "P2",3,10`),
  },
  '+QINISTAT': { source: EC2X, answer: () => says('+QINISTAT: 7') },
  '+QSIMSTAT?': {
    source: EC2X,
    answer: modem => says(`+QSIMSTAT: 1,${modem.sim.state === 'absent' ? 0 : 1}`),
  },
  '+QURCCFG=': accepts(EC2X, /^"urcport","(usbat|usbmodem|uart1|uart2|all)"$/),
  '+QNWINFO': { source: `${RM5}; ${EC2X}`, answer: networkInfo },
  '+QCSQ': { source: `${RM5}; cellular-wiki`, answer: signal },
  '+QENG=': {
    source: `${EC2X}; ${RM5}; quectel-5g-tools: recorded forms`,
    answer: (modem, args) => (args === '"servingcell"' ? says(...servingCell(modem)) : null),
  },
  '+QGDCNT?': { source: EC2X, answer: ({ bytes }) => says(`+QGDCNT: ${bytes.sent},${bytes.received}`) },
  '+QICSGP=': {
    source: EC2X,
    answer: (modem, args) => {
      const found = /^(\d+),[123],"([^"]*)","([^"]*)","([^"]*)",[0-3]$/.exec(args);
      if (!found) return null;
      modem.authentication.set(Number(found[1]), `${found[3]}:${found[4]}`);
      return done;
    },
  },
  '+QNETDEVSTATUS=': {
    source: `${EC2X}: 10.18`,
    answer: (modem, args) => {
      if (!/^[01]$/.test(args)) return null;
      modem.netDevReports = args === '1';
      return done;
    },
  },
  '+QNETDEVSTATUS?': {
    source: `${EC2X}: 10.18`,
    answer: modem =>
      says(`+QNETDEVSTATUS: ${modem.netDevReports ? 1 : 0},${modem.call === 'up' ? 2 : 0},4,1`),
  },
};

export const EC25: RowTable = {
  ...SHARED,
  '+QTEMP': { source: `${EC2X}: PMIC, XO, PA, where 255 is none`, answer: () => says('+QTEMP: 34,31,255') },
  '$QCRMCALL=': {
    source: `${EC2X}: 10.17`,
    answer: (modem, args) => {
      if (args === '0,1') return hangUp(modem);
      if (!/^1,1,[123],2,1$/.test(args)) return null;
      const reply = dial(modem);
      return reply.final === 'OK' ? { ...reply, lines: ['$QCRMCALL: 1,V4'] } : reply;
    },
  },
  '+QNETDEVCTL=': {
    source: 'qmodem: the order of its parameters differs by platform',
    answer: (modem, args) => {
      if (args === '1,1,1') return dial(modem);
      return args === '1,2,1' || args === '0,1,1' ? hangUp(modem) : null;
    },
  },
  '+QCFG=': {
    source: `${EC2X}; cellular-wiki`,
    answer: (modem, args) => {
      if (args === '"nwscanmode"') return says(`+QCFG: "nwscanmode",${modem.mode}`);
      const found = /^"nwscanmode",([0-3]),1$/.exec(args);
      if (!found) return null;
      modem.mode = found[1] ?? '0';
      return { ...done, afterwards: () => modem.reregister() };
    },
  },
};

export const RM5XX: RowTable = {
  ...SHARED,
  ...registrationRowsOf('+C5GREG'),
  '+QTEMP': {
    source: 'quectel-5g-tools; qmodem: sensors that are not there say -273 or 0',
    answer: () =>
      says(
        '+QTEMP:"modem-lte-sub6-pa1","40"',
        '+QTEMP:"modem-sdr0-pa0","-273"',
        '+QTEMP:"modem-ambient-usr","41"',
        '+QTEMP:"qfe_wtr_pa2","0"',
      ),
  },
  '+QGDNRCNT?': { source: EC2X, answer: () => says('+QGDNRCNT: 1000,2000') },
  '+QNWCFG=': {
    source: `${RM5}: clr_guti only with the radio off`,
    answer: (modem, args) => {
      if (args !== '"clr_guti"') return null;
      if (modem.cfun === 1) return error;
      modem.forgetTemporaryIdentity();
      return done;
    },
  },
  '+QNWPREFCFG=': {
    source: RM5,
    answer: (modem, args) => {
      if (args === '"mode_pref"') return says(`+QNWPREFCFG: "mode_pref",${modem.mode}`);
      const found = /^"mode_pref",(AUTO|LTE|NR5G|WCDMA|LTE:NR5G)$/.exec(args);
      if (!found) return null;
      modem.mode = found[1] ?? 'AUTO';
      return { ...done, afterwards: () => modem.reregister() };
    },
  },
  '+QMAPWAC=': {
    source: 'cellular-wiki: automatic connection of router mode',
    answer: (modem, args) => {
      if (!/^[01]$/.test(args)) return null;
      modem.autoCall = args === '1';
      if (!modem.autoCall) return hangUp(modem);
      if (modem.network.credit === 'refused') return failsCme(133);
      if (modem.registered) modem.dial();
      return done;
    },
  },
  '+QMAP=': {
    source: 'cellular-wiki: AT+QMAP="WWAN"',
    answer: (modem, args) => {
      if (args !== '"WWAN"') return null;
      const up = modem.call === 'up';
      return says(
        `+QMAP: "WWAN",${up ? 1 : 0},1,"IPV4","${up ? modem.address : '0.0.0.0'}"`,
        '+QMAP: "WWAN",0,1,"IPV6","0:0:0:0:0:0:0:0"',
      );
    },
  },
};

function networkInfo(modem: ModemState): Reply {
  if (!modem.registered) return says('+QNWINFO: No Service');
  const { plmn, nr } = modem.network;
  switch (modem.accessTechnology) {
    case 2:
      return says(`+QNWINFO: "HSPA+","${plmn}","WCDMA 2100",10564`);
    case 11:
      return says(`+QNWINFO: "TDD NR5G","${plmn}","NR5G BAND 41",516270`);
    default: {
      const lte = `+QNWINFO: "FDD LTE","${plmn}","LTE BAND 3",1650`;
      return nr === 'nsa' && modem.model.family === 'rm5xx'
        ? says(lte, `+QNWINFO: "NR5G-NSA","${plmn}","NR5G BAND 78",627264`)
        : says(lte);
    }
  }
}

function signal(modem: ModemState): Reply {
  if (!modem.registered) return says('+QCSQ: "NOSERVICE"');
  if (modem.accessTechnology === 2) return says('+QCSQ: "WCDMA",-70,-80,-6');
  if (modem.accessTechnology === 11) return says('+QCSQ: "NR5G",-75,5,-11');
  return says('+QCSQ: "LTE",-52,-81,195,-10');
}

/** The forms of the manuals and recordings, letter for letter. */
export function servingCell(modem: ModemState): string[] {
  if (!modem.registered) return ['+QENG: "servingcell","SEARCH"'];
  const state = modem.call === 'up' ? 'CONNECT' : 'NOCONN';
  const mcc = modem.network.plmn.slice(0, 3);
  const mnc = modem.network.plmn.slice(3);
  if (modem.accessTechnology === 2)
    return [
      `+QENG: "servingcell","${state}","WCDMA",${mcc},${mnc},DE10,5A29C0B,10564,125,1,-80,-6,0,-,-,-,-`,
    ];
  if (modem.model.family === 'ec25')
    return [
      `+QENG: "servingcell","${state}","LTE","FDD",${mcc},${mnc},19A358C,366,100,1,5,5,774E,-108,-5,-83,9,13`,
    ];
  if (modem.accessTechnology === 11)
    return [
      `+QENG: "servingcell","${state}","NR5G-SA","TDD",${mcc},${mnc},18666712F,335,794E00,516270,41,12,-75,-11,5,1,-`,
    ];
  if (modem.network.nr === 'nsa')
    return [
      `+QENG: "servingcell","${state}"`,
      `+QENG: "LTE","FDD",${mcc},${mnc},328261F,280,275,1,4,4,BE3,-99,-14,-66,7,4,30,-`,
      `+QENG:"NR5G-NSA",${mcc},${mnc},920,-96,18,-10,648768,78,10,1`,
    ];
  return [
    `+QENG: "servingcell","${state}","LTE","FDD",${mcc},${mnc},5F1EA15,12,1650,3,5,5,DE10,-100,-12,-68,11,0,-32768,27`,
  ];
}
