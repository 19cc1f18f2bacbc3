/**
 * What a virtual stick does beyond its status: log-in, network mode, dial-up profile, PIN, SMS, USSD, LAN, reboot.
 * Element names and orders are those of Salamek/huawei-lte-api and arska/e3372; a request in another order gets
 * 100005, as the firmware gives it.
 */
import type { VirtualCarrier } from './carrier';
import type { HilinkKnobs } from './hilink-knobs';
import { type Element, escapeXml } from './hilink-replies';
import type { HilinkSessions } from './hilink-session';

const BUSY = 100_004;
const FORMAT_ERROR = 100_005;
const WRONG_PARAMETER = 100_006;
const PAGE_LIMIT = 20;

/** What endpoints work on. */
export interface Stick {
  knobs: HilinkKnobs;
  carrier: VirtualCarrier;
  sessions: HilinkSessions;
  memory: StickMemory;
  /** Reboots after the answer is out. */
  reboot(): void;
  /** Moves the web server to the address once the answer is out; undefined where the simulation cannot. */
  relocate: ((address: string) => void) | undefined;
}

/** What outlives a request. */
export interface StickMemory {
  netMode: string;
  netBand: string;
  lteBand: string;
  profile: Record<string, string>;
  ussdCode: string | null;
  ussdPolls: number;
  lan: string;
  /** Network modes that it was in, in order. */
  modesVisited: string[];
  /** PINs that were tried. */
  pinsTried: string[];
}

export const freshMemory = (): StickMemory => ({
  netMode: '00',
  netBand: '3FFFFFFF',
  lteBand: '7FFFFFFFFFFFFFFF',
  profile: {
    Index: '1',
    IsValid: '1',
    Name: 'Default',
    ApnIsStatic: '1',
    ApnName: 'internet',
    DialupNum: '*99#',
    Username: '',
    Password: '',
    AuthMode: '0',
    ReadOnly: '0',
    iptype: '2',
  },
  ussdCode: null,
  ussdPolls: 0,
  lan: '192.168.8.1',
  modesVisited: [],
  pinsTried: [],
});

/** An error number, elements, or XML that is ready; 0 is OK. */
export type Answer = number | Element[] | { inner: string };

export const FEATURE_GETS: Record<string, ((stick: Stick) => Answer) | undefined> = {
  'user/state-login': ({ sessions, knobs }) => [
    ['State', knobs.password === null || sessions.loggedIn() ? (knobs.password === null ? -1 : 0) : -1],
    ['Username', ''],
    ['password_type', knobs.passwordType],
    ['extern_password_type', knobs.login === 'scram' && knobs.admitsScram ? 1 : 0],
    ['lockstatus', sessions.remainingWait() > 0 ? 1 : 0],
    ['remainwaittime', sessions.remainingWait()],
  ],
  'user/hilink_login': ({ knobs }) => [['hilink_login', knobs.password === null ? 0 : 1]],
  'pin/status': ({ knobs }) => [
    ['SimState', { ready: 257, absent: 255, pin: 260, puk: 261 }[knobs.sim]],
    ['PinOptState', 258],
    ['SimPinTimes', knobs.pinTries],
    ['SimPukTimes', 10],
  ],
  'net/net-mode': ({ memory }) => [
    ['NetworkMode', memory.netMode],
    ['NetworkBand', memory.netBand],
    ['LTEBand', memory.lteBand],
  ],
  'dialup/profiles': ({ memory }) => ({
    inner: `<CurrentProfile>1</CurrentProfile><Profiles><Profile>${Object.entries(memory.profile)
      .map(([name, value]) => `<${name}>${escapeXml(name === 'Password' ? '' : value)}</${name}>`)
      .join('')}</Profile></Profiles>`,
  }),
  'global/module-switch': ({ knobs }) => [
    ['ussd_enabled', knobs.ussdEnabled ? 1 : 0],
    ['sms_enabled', 1],
  ],
  'ussd/status': ({ memory, knobs }) => {
    memory.ussdPolls += 1;
    return [['result', memory.ussdPolls > knobs.ussdWaits ? 0 : 1]];
  },
  'ussd/get': ({ memory, knobs }) => {
    const answer = knobs.ussd[memory.ussdCode ?? ''] ?? 111_019;
    return typeof answer === 'number' ? answer : [['content', answer]];
  },
  'ussd/release': ({ memory }) => {
    memory.ussdCode = null;
    return 0;
  },
};

export const FEATURE_POSTS: Record<
  string,
  ((stick: Stick, body: string, token: string) => Answer | Promise<Answer>) | undefined
> = {
  'user/login': ({ sessions }, body, token) =>
    sessions.loginClassic({
      username: fieldOf(body, 'Username'),
      password: fieldOf(body, 'Password'),
      type: fieldOf(body, 'password_type'),
      token,
    }),
  'user/challenge_login': ({ sessions, knobs }, body) => {
    if (knobs.login !== 'scram') return 100_002;
    if (!inOrder(body, ['username', 'firstnonce', 'mode'])) return FORMAT_ERROR;
    const { salt, iterations, serverNonce } = sessions.beginScram(fieldOf(body, 'firstnonce'));
    return [
      ['salt', salt],
      ['iterations', iterations],
      ['servernonce', serverNonce],
      ['modeselected', 1],
    ];
  },
  'user/authentication_login': ({ sessions }, body) =>
    sessions.endScram(fieldOf(body, 'clientproof'), fieldOf(body, 'finalnonce')),
  'pin/operate': ({ knobs, memory }, body) => {
    if (!inOrder(body, ['OperateType', 'CurrentPin', 'NewPin', 'PukCode'])) return FORMAT_ERROR;
    if (knobs.sim !== 'pin') return 112_002;
    memory.pinsTried.push(fieldOf(body, 'CurrentPin'));
    if (fieldOf(body, 'CurrentPin') === knobs.pin) {
      knobs.sim = 'ready';
      return 0;
    }
    knobs.pinTries -= 1;
    if (knobs.pinTries <= 0) knobs.sim = 'puk';
    return 112_001;
  },
  'net/net-mode': async ({ memory, carrier }, body) => {
    if (!inOrder(body, ['NetworkMode', 'NetworkBand', 'LTEBand'])) return FORMAT_ERROR;
    const mode = fieldOf(body, 'NetworkMode');
    if (!/^0[0-38]$/.test(mode)) return WRONG_PARAMETER;
    memory.netBand = fieldOf(body, 'NetworkBand');
    memory.lteBand = fieldOf(body, 'LTEBand');
    // The value it has already changes nothing, with most firmware.
    if (mode === memory.netMode) return 0;
    memory.netMode = mode;
    memory.modesVisited.push(mode);
    await carrier.hangUp();
    carrier.register();
    return 0;
  },
  'net/reconnect': async ({ carrier }, body) => {
    if (fieldOf(body, 'ReconnectAction') !== '1') return WRONG_PARAMETER;
    await carrier.hangUp();
    carrier.register();
    return 0;
  },
  'dialup/profiles': ({ memory }, body) => {
    if (
      !inOrder(body, ['Delete', 'SetDefault', 'Modify', 'Profile', 'Index', 'ApnName', 'AuthMode', 'iptype'])
    )
      return FORMAT_ERROR;
    for (const name of Object.keys(memory.profile)) memory.profile[name] = fieldOf(body, name);
    return 0;
  },
  'dialup/dial': async ({ carrier }, body) => {
    const action = fieldOf(body, 'Action');
    if (action !== '0' && action !== '1') return WRONG_PARAMETER;
    if (carrier.status().connection === 900) return BUSY;
    if (action === '1') carrier.dial();
    else await carrier.hangUp();
    return 0;
  },
  'dialup/mobile-dataswitch': async ({ carrier }, body) => {
    const wanted = fieldOf(body, 'dataswitch');
    if (wanted !== '0' && wanted !== '1') return WRONG_PARAMETER;
    await carrier.switchData(wanted === '1');
    return 0;
  },
  'device/control': (stick, body) => {
    if (fieldOf(body, 'Control') !== '1') return WRONG_PARAMETER;
    stick.reboot();
    return 0;
  },
  'sms/sms-list': ({ knobs }, body) => {
    const names = ['PageIndex', 'ReadCount', 'BoxType', 'SortType', 'Ascending', 'UnreadPreferred'];
    if (!inOrder(body, names)) return FORMAT_ERROR;
    const count = Number(fieldOf(body, 'ReadCount'));
    if (count > PAGE_LIMIT) return FORMAT_ERROR;
    const from = (Number(fieldOf(body, 'PageIndex')) - 1) * count;
    const page = fieldOf(body, 'BoxType') === '1' ? knobs.messages.slice(from, from + count) : [];
    const messages = page.map(
      one =>
        `<Message><Smstat>${one.unread ? 0 : 1}</Smstat><Index>${one.index}</Index><Phone>${escapeXml(one.phone)}</Phone><Content>${escapeXml(one.content)}</Content><Date>${one.date}</Date><Sca></Sca><SaveType>4</SaveType><Priority>0</Priority><SmsType>1</SmsType></Message>`,
    );
    return { inner: `<Count>${page.length}</Count><Messages>${messages.join('')}</Messages>` };
  },
  'sms/delete-sms': ({ knobs }, body) => {
    const index = fieldOf(body, 'Index');
    if (!knobs.messages.some(one => one.index === index)) return 113_114;
    knobs.messages = knobs.messages.filter(one => one.index !== index);
    return 0;
  },
  'ussd/send': ({ memory }, body) => {
    if (!inOrder(body, ['content', 'codeType', 'timeout'])) return FORMAT_ERROR;
    if (fieldOf(body, 'codeType') !== 'CodeType') return WRONG_PARAMETER;
    if (memory.ussdCode !== null) return BUSY;
    memory.ussdCode = fieldOf(body, 'content');
    memory.ussdPolls = 0;
    return 0;
  },
  'dhcp/settings': (stick, body) => {
    const names = [
      ...['DnsStatus', 'DhcpStartIPAddress', 'DhcpIPAddress', 'accessipaddress', 'homeurl', 'DhcpStatus'],
      ...['DhcpLanNetmask', 'SecondaryDns', 'PrimaryDns', 'DhcpEndIPAddress', 'DhcpLeaseTime'],
    ];
    if (!inOrder(body, names)) return FORMAT_ERROR;
    if (!stick.relocate) return 100_002;
    stick.memory.lan = fieldOf(body, 'DhcpIPAddress');
    stick.relocate(stick.memory.lan);
    return 0;
  },
};

/** Whether the elements are all there, in this order. */
function inOrder(body: string, names: readonly string[]): boolean {
  let at = 0;
  for (const name of names) {
    at = body.indexOf(`<${name}>`, at);
    if (at < 0) return false;
    at += 1;
  }
  return true;
}

function fieldOf(body: string, name: string): string {
  const text = new RegExp(`<${name}>([^<]*)</${name}>`).exec(body)?.[1] ?? '';
  return text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&apos;', "'")
    .replaceAll('&amp;', '&');
}
