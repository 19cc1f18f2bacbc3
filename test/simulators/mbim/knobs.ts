/** How a simulated MBIM modem behaves and misbehaves. Every field may be changed while it runs. Data only. */
export interface MbimKnobs {
  // The SIM and its carrier.
  sim: 'ready' | 'absent' | 'pin' | 'puk' | 'bad' | 'not-activated' | 'starting';
  pin: string;
  pinTriesLeft: number;
  registration: 'home' | 'roaming' | 'denied' | 'never';
  /** 3GPP cause that comes with a denial. */
  denialCause: number;
  registrationDelayMs: number;
  /** Data class bits that this place has. */
  availableDataClasses: number;
  /** Refuses every data connection with this 3GPP cause; 0 lets them through. */
  connectCause: number;
  connectDelayMs: number;
  /** `activating`: answers at once and tells the rest by an indication. */
  connectStyle: 'at-once' | 'activating';
  /** What the carrier gives to whoever asks for all or nothing in particular; its `address6` is given only then. */
  ipType: 'ipv4' | 'ipv6' | 'ipv4v6';
  /** Hands out the same address again. */
  sticky: boolean;
  ussdDelayMs: number;

  // The firmware.
  hardwareRadioOff: boolean;
  replyDelayMs: number;
  /** Takes everything, answers nothing. */
  hung: boolean;
  /** Leaves so many OPEN messages unanswered. */
  ignoredOpens: number;
  /** Does the settings of these basic connect commands, and their answer is lost. */
  lostSets: readonly number[];
  /** Answers so many commands with "busy" (status 1). */
  busyTimes: number;
  /** Answers the next command with this status and no information. */
  nextStatus: number | null;
  /** Answers the next command with FUNCTION_ERROR of this number; 5 also forgets that it was opened. */
  nextFunctionError: number | null;
  /** Answers the next command under another transaction number. */
  nextWrongTransaction: boolean;
  /** Answers the next command with only so many bytes of its information. */
  nextTruncatedInfo: number | null;
  /** Frames of replies are at most so large; the host's own limit when null. */
  fragmentBytes: number | null;
  /** What is wrong with the fragments of the next reply that has several. */
  nextFragmentFault: 'none' | 'missing-last' | 'swapped' | 'doubled';
  /** How bytes reach the line: frames as they are, cut by the seed, or single bytes. */
  writes: 'whole' | 'cut' | 'bytes';
  /** Bytes of noise before each frame. */
  noiseBytes: number;
  /** Indications of the registration state that come before each reply. */
  stormIndications: number;
  /** After a reset it is back on the bus after so long. */
  resetMs: number;
}

const LTE_AND_3G = 0x3c;

export const DEFAULT_KNOBS: Readonly<MbimKnobs> = {
  sim: 'ready',
  pin: '1234',
  pinTriesLeft: 3,
  registration: 'home',
  denialCause: 11,
  registrationDelayMs: 0,
  availableDataClasses: LTE_AND_3G,
  connectCause: 0,
  connectDelayMs: 0,
  connectStyle: 'at-once',
  ipType: 'ipv4v6',
  sticky: false,
  ussdDelayMs: 0,
  hardwareRadioOff: false,
  replyDelayMs: 0,
  hung: false,
  ignoredOpens: 0,
  lostSets: [],
  busyTimes: 0,
  nextStatus: null,
  nextFunctionError: null,
  nextWrongTransaction: false,
  nextTruncatedInfo: null,
  fragmentBytes: null,
  nextFragmentFault: 'none',
  writes: 'whole',
  noiseBytes: 0,
  stormIndications: 0,
  resetMs: 3_000,
};
