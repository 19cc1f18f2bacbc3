/**
 * What other programs (gammu, ModemManager, telephones' tools) ask beside the commands that the agent uses: standard
 * questions with the answers of a plain modem, and commands of other makers, which are known not to be known.
 */
import type { ModemState } from './modem-state';
import { accepts, done, failsCme, type Reply, type RowTable, refuses, says, withSim } from './row';

const V250 = '3gpp-27007: V.250';
const T27007 = '3gpp-27007';
const T27005 = '3gpp-27005';
const OTHER_MAKERS = 'assumed: commands of other makers that no Quectel or Huawei list has';

export const TOOLS: RowTable = {
  '+MODE=': refuses(OTHER_MAKERS),
  '+CPROT=?': refuses(OTHER_MAKERS),
  '+SYNCML=?': refuses(OTHER_MAKERS),
  '$TSSPCSW=?': refuses(OTHER_MAKERS),
  '^SBNR=?': refuses(OTHER_MAKERS),
  '+SPBR=?': refuses(OTHER_MAKERS),
  '+MPBR=?': refuses(OTHER_MAKERS),
  '*CNTI=': refuses(OTHER_MAKERS),

  X: accepts(V250, /^[0-4]$/),
  H: { source: V250, answer: () => done },
  '&C': accepts(V250, /^[01]$/),
  '+IFC=?': { source: V250, answer: () => says('+IFC: (0),(0)') },
  '+IFC=': accepts(V250, /^0,0$/),
  '+CLCC=?': { source: T27007, answer: () => done },
  '+CRC=': accepts(T27007, /^[01]$/),
  '+CCWA=': accepts(T27007, /^[0-2](,[0-2])?$/),
  '+GCAP': { source: V250, answer: () => says('+GCAP: +CGSM') },
  '+WS46=?': { source: `${T27007}: 5.9`, answer: () => says('+WS46: (12,22,25,28,29)') },
  '+CGDCONT=?': {
    source: `${T27007}: 10.1.1`,
    answer: () => says(...['IP', 'IPV6', 'IPV4V6'].map(type => `+CGDCONT: (1-16),"${type}",,,(0),(0)`)),
  },
  '+CGEREP=?': { source: `${T27007}: 10.1.19`, answer: () => says('+CGEREP: (0-2),(0,1)') },
  '+CGEREP=': accepts(`${T27007}: 10.1.19`, /^[0-2](,[01])?$/),
  '+CIND=?': refuses('assumed: not there on Quectel EC25'),
  '+CESQ=?': {
    source: `${T27007}: 8.69`,
    answer: () => says('+CESQ: (0-63,99),(0-7,99),(0-96,255),(0-49,255),(0-34,255),(0-97,255)'),
  },
  '+CEMODE?': { source: `${T27007}: 10.1.28`, answer: () => says('+CEMODE: 2') },
  '+CTZU=': accepts(`${T27007}: 8.40`, /^[01]$/),
  '+CTZR=': accepts(`${T27007}: 8.41`, /^[0-2]$/),
  '+CCLK?': { source: 'quectel-ec2x-at: AT+CCLK', answer: () => says('+CCLK: "24/01/31,10:20:30+12"') },
  '+CBC': { source: 'quectel-ec2x-at: AT+CBC, mV', answer: () => says('+CBC: 0,85,4090') },
  '+CHUP=?': { source: T27007, answer: () => done },
  '+CHUP': { source: T27007, answer: () => done },
  '+CLIP=': accepts('quectel-ec2x-at: AT+CLIP', /^[01]$/),
  '+CUSD=?': { source: `${T27007}: 7.15`, answer: () => says('+CUSD: (0-2)') },

  '+CLCK=?': {
    source: `${T27007}: 7.4`,
    answer: () => says('+CLCK: ("SC","AO","OI","OX","AI","IR","AB","AG","AC","PN","PU","PP","PC")'),
  },
  '+CLCK=': withSim(`${T27007}: 7.4`, (_modem, args) =>
    /^"[A-Z]{2}",2$/.test(args) ? says('+CLCK: 0') : null,
  ),
  '+CNUM': withSim('quectel-ec2x-at: number or only OK', () => done),
  '+CPLS=': accepts(`${T27007}: 7.20`, /^[0-2]$/),
  '+CPOL=': accepts(`${T27007}: 7.19`, /^,[0-2]$/),
  '+CPOL?': withSim(`${T27007}: 7.19`, () => done),
  '+CSIM=': refuses('assumed: a modem may keep the SIM to itself', failsCme(3)),
  '+CRSM=': withSim(`${T27007}: 8.18`, readSimFile),
  '+CPBS=?': { source: T27007, answer: () => says('+CPBS: ("SM","ME")') },
  '+CPBS=': withSim(T27007, (_modem, args) => (/^"(SM|ME)"$/.test(args) ? done : failsCme(3))),
  '+CPBS?': withSim(T27007, () => says('+CPBS: "SM",0,250')),
  '+CSMS?': { source: T27005, answer: () => says('+CSMS: 0,1,1,1') },
  '+CSMS=': { source: T27005, answer: (_modem, args) => (/^[01]$/.test(args) ? says('+CSMS: 1,1,1') : null) },
  '+CSCA?': withSim(T27005, () => says('+CSCA: "+27381000015",145')),
  '+CMGF=?': { source: T27005, answer: () => says('+CMGF: (0,1)') },
};

/** EF of the SIM by its number (3GPP TS 31.102 4.2): ICCID and AD are there, others are "file not found" (106,130). */
function readSimFile(modem: ModemState, args: string): Reply | null {
  const found = /^176,(\d+),0,0,\d+$/.exec(args);
  if (!found) return null;
  if (found[1] === '12258') {
    const swapped = `${modem.iccid}F`.replace(/(.)(.)/g, '$2$1');
    return says(`+CRSM: 144,0,"${swapped}"`);
  }
  // Administrative data: an MNC of two digits.
  return says(found[1] === '28589' ? '+CRSM: 144,0,"00000002"' : '+CRSM: 106,130');
}
