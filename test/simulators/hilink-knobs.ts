/** How a virtual stick may differ from a well-behaved one: set at its start or turned while it runs. Data only. */
export interface StickMessage {
  index: string;
  phone: string;
  content: string;
  date: string;
  unread: boolean;
}

export interface HilinkKnobs {
  /** How its firmware keeps clients apart. */
  session: 'session-token' | 'token' | 'none';
  /** Whether `SesInfo` begins with `SessionID=`. */
  sessionPrefix: boolean;
  /** False: replies bring no next token. */
  tokenInReply: boolean;
  /** Null: no log-in. */
  password: string | null;
  login: 'classic' | 'scram';
  /** Whether `user/state-login` admits to SCRAM; else the classic way fails with 108006. */
  admitsScram: boolean;
  passwordType: '0' | '3' | '4';
  /** 2: in two headers, more: in one header, with `#` between. */
  tokensAfterLogin: number;
  lockoutMinutes: number;
  /** The next requests for this path (with `method`: of this method) get this error. */
  fail: { path: string; method?: 'GET' | 'POST'; code: number; times: number } | null;
  /** This firmware does not have these. */
  lacks: readonly string[];
  /** The next session belongs to another client after so many more requests; 0: nobody comes. */
  stolenAfter: number;
  sim: 'ready' | 'absent' | 'pin' | 'puk';
  pin: string;
  pinTries: number;
  /** Elements of `monitoring/status` that read otherwise. */
  status: Record<string, string>;
  signal: Record<string, string>;
  /** Whether the status tells the address inside the carrier's network. */
  wanInStatus: boolean;
  /** The stick's web server is away so long after a reboot. */
  rebootMs: number;
  /** Dies before it has answered the order to reboot. */
  losesRebootAnswer: boolean;
  ussdEnabled: boolean;
  /** Answers by code; a number is an error of `ussd/get`. */
  ussd: Record<string, string | number>;
  /** `ussd/status` says "wait" so many times. */
  ussdWaits: number;
  /** Texts go out with surrogate halves encoded each. */
  cesu8: boolean;
  messages: StickMessage[];
}

export const usualKnobs = (): HilinkKnobs => ({
  session: 'session-token',
  sessionPrefix: true,
  tokenInReply: true,
  password: null,
  login: 'classic',
  admitsScram: true,
  passwordType: '4',
  tokensAfterLogin: 2,
  lockoutMinutes: 5,
  fail: null,
  lacks: ['net/reconnect'],
  stolenAfter: 0,
  sim: 'ready',
  pin: '1234',
  pinTries: 3,
  status: {},
  signal: {},
  wanInStatus: false,
  rebootMs: 2000,
  losesRebootAnswer: false,
  ussdEnabled: true,
  ussd: {},
  ussdWaits: 2,
  cesu8: true,
  messages: [],
});
