/**
 * What a firmware profile may say: how one modem model is recognised and driven, as data. Which profile fits a stick
 * is match.ts; doing what it says is the drivers'. Profiles name methods out of the lists here and never carry
 * commands, so that a profile from outside cannot make a modem do anything that a driver does not offer.
 * Explained for people in firmware-profiles/README.md.
 */
import { z } from 'zod';

/** Raised when a profile of the older form would be misread. */
export const PROFILE_FORMAT = 1;

const Name = z.string().min(1).max(80);
const Hex4 = z.string().regex(/^[0-9a-f]{4}$/, 'must be 4 lower-case hex digits');
/** `*` stands for any run of characters; case does not count. */
const Pattern = z.string().min(1).max(80).regex(/[^*]/, 'must say something besides "*"');
const Seconds = z.number().min(0).max(3600);

/** Why we believe a section, and whether anybody has tried it on the device itself. */
export const Evidence = z.strictObject({
  /** Keys of the profile's `sources`. */
  from: z.array(z.string().min(1).max(40)).min(1).max(12),
  /** `documented` by the maker or read in a source, `reported` from the field, `inferred` by us. */
  certainty: z.enum(['documented', 'reported', 'inferred']),
  /** True only when somebody of us has tried it on a real device. */
  onHardware: z.boolean(),
  note: z.string().max(300).optional(),
});
export type Evidence = z.infer<typeof Evidence>;

export const DriverKind = z.enum(['hilink', 'at', 'mbim']);
export type DriverKind = z.infer<typeof DriverKind>;

const UsbId = z.strictObject({ vendorId: Hex4, productId: Hex4 });

const Match = z.strictObject({
  /** Any one of these ids; empty only in generic profiles. */
  usb: z.array(UsbId).max(40),
  /** USB product text, when the model has one of its own. */
  usbProduct: z.array(Pattern).max(8).default([]),
  /** What the modem says of itself. Every field named here must fit, once it is known. */
  identity: z
    .strictObject({
      model: z.array(Pattern).min(1).max(8).optional(),
      hardware: z.array(Pattern).min(1).max(8).optional(),
      firmware: z.array(Pattern).min(1).max(8).optional(),
    })
    .default({}),
  /** Fits anything that this driver can talk to: the last resort. */
  generic: DriverKind.optional(),
  evidence: Evidence,
});

export const PortRole = z.enum(['at', 'at-secondary', 'modem', 'diagnostics', 'gnss', 'network', 'control']);
export type PortRole = z.infer<typeof PortRole>;

/** An interface by its number, or by class/subclass/protocol where numbers move about. */
const PortRule = z
  .strictObject({
    role: PortRole,
    interface: z.int().min(0).max(31).optional(),
    class: z
      .strictObject({
        class: z.int().min(0).max(255),
        subclass: z.int().min(0).max(255),
        protocol: z.int().min(0).max(255),
      })
      .optional(),
  })
  .refine(rule => (rule.interface === undefined) !== (rule.class === undefined), {
    message: 'needs "interface" or "class", and not both',
  });
export type PortRule = z.infer<typeof PortRule>;

/** dB or dBm = raw × scale + offset, for raw values from min to max; anything else is "not known". */
export const Conversion = z
  .strictObject({ scale: z.number(), offset: z.number(), min: z.number(), max: z.number() })
  .refine(one => one.min < one.max, { message: 'min must be below max' });
export type Conversion = z.infer<typeof Conversion>;

/** Ways to ask for the signal, best first. */
export const SignalMethod = z.enum(['qeng', 'qcsq', 'hcsq', 'cesq', 'csq', 'hilink-signal', 'mbim-signal']);
export type SignalMethod = z.infer<typeof SignalMethod>;

export const ConnectMethod = z.enum([
  'hilink-dataswitch',
  'hilink-dial',
  'mbim-connect',
  'cgact',
  'qcrmcall',
  'qnetdevctl-cid-first',
  'qnetdevctl-operation-first',
  'qmapwac',
  'ndisdup',
]);
export type ConnectMethod = z.infer<typeof ConnectMethod>;

/** What a rotation may try; each is one or two verbs of the driver. */
export const RotationMethod = z.enum(['data-switch', 'radio', 'deregister', 'mode-toggle', 'reset']);
export type RotationMethod = z.infer<typeof RotationMethod>;

export const RecoveryRung = z.enum(['reconnect', 'radio', 'reset', 'usb-rebind', 'port-power']);
export type RecoveryRung = z.infer<typeof RecoveryRung>;

/** AT dialects that the driver knows; a new model picks one. */
export const AtDialect = z.enum(['3gpp', 'quectel', 'huawei-stick']);
export type AtDialect = z.infer<typeof AtDialect>;

export const AtSettings = z.strictObject({
  dialect: AtDialect,
  /** Where the SIM's number is, in the order to try. */
  iccid: z.array(z.enum(['qccid', 'iccid', 'ccid', 'huawei-iccid'])).min(1),
  pinTries: z.enum(['qpinc', 'huawei-cpin', 'none']),
  /** CFUN value that switches the radio off: 4 keeps the SIM readable, 0 does not on most. */
  radioOff: z.union([z.literal(0), z.literal(4)]),
  /** Asks for a new temporary identity while the radio is off (Quectel RM5xx `clr_guti`). */
  freshAttach: z.boolean(),
  deregister: z.enum(['cops', 'cgatt']),
  modes: z.enum(['nwscanmode', 'mode-pref', 'syscfgex', 'none']),
  /** The mode that `mode-toggle` visits, as the command spells it. */
  modeVisited: z
    .string()
    .regex(/^[0-9A-Z:]{1,16}$/, 'must be digits, capitals and colons')
    .optional(),
  reset: z.enum(['cfun-1-1', 'huawei-reset']),
  /** Byte counters that are added up. */
  counters: z.array(z.enum(['qgdcnt', 'qgdnrcnt', 'dsflowqry'])),
  temperature: z.enum(['qtemp', 'none']),
  ussd: z.enum(['plain', 'packed', 'none']),
  smsStore: z.enum(['ME', 'SM']).nullable(),
  /** 5G may ride on an LTE cell; ask the network details to tell. */
  nr: z.boolean(),
});
export type AtSettings = z.infer<typeof AtSettings>;

const Method = { evidence: Evidence };

const Sections = z.strictObject({
  format: z.literal(PROFILE_FORMAT),
  /** `<vendor>/<model>`, the same as its path. */
  id: z.string().regex(/^[a-z0-9-]+\/[a-z0-9-]+$/, 'must be "vendor/model" in lower case'),
  vendor: Name,
  model: Name,
  match: Match,
  /** In the order of preference; the first whose ports are there is used. */
  drivers: z
    .array(z.strictObject({ kind: DriverKind, port: PortRole, ...Method }))
    .min(1)
    .max(3),
  ports: z.strictObject({ rules: z.array(PortRule).max(16), ...Method }),
  signal: z.strictObject({
    methods: z.array(SignalMethod).min(1),
    /** SINR of LTE as QENG and QCSQ give it; needed when those are among the methods. */
    qengLteSinr: Conversion.optional(),
    qcsqLteSinr: Conversion.optional(),
    ...Method,
  }),
  connect: z.strictObject({
    methods: z.array(ConnectMethod).min(1),
    /** PDP context or profile number. */
    context: z.int().min(1).max(16),
    /** A changed APN is used only after attaching again. */
    apnNeedsAttach: z.boolean(),
    /** Its own address where it is a router to the host (ECM, RNDIS, NCM). */
    lanAddress: z.ipv4().optional(),
    ...Method,
  }),
  rotation: z
    .array(
      z.strictObject({
        method: RotationMethod,
        /** How long it stays down before coming back; too short gives the same address again. */
        dwellSeconds: Seconds,
        /** What it usually takes in all, dwell included. */
        expectSeconds: Seconds,
        ...Method,
      }),
    )
    .min(1),
  reset: z.strictObject({
    /** Gone from the bus at the latest after this, there again after that, and usable after the last. */
    goneWithinSeconds: Seconds,
    backWithinSeconds: Seconds,
    readyWithinSeconds: Seconds,
    ...Method,
  }),
  recovery: z.array(z.strictObject({ rung: RecoveryRung, budgetSeconds: Seconds, ...Method })).min(1),
  capabilities: z.strictObject({
    technologies: z.array(z.enum(['2g', '3g', '4g', '5g-nsa', '5g-sa'])).min(1),
    sms: z.boolean(),
    ussd: z.boolean(),
    temperature: z.boolean(),
    cell: z.boolean(),
    counters: z.boolean(),
    ...Method,
  }),
  at: AtSettings.extend(Method).optional(),
  /** Key → what it is and where it can be read. */
  sources: z.record(z.string().min(1).max(40), z.string().min(1).max(300)),
});
export type Profile = z.infer<typeof Sections>;

export const Profile = Sections.superRefine((profile, context) => {
  for (const { path, message } of contradictions(profile))
    context.addIssue({ code: 'custom', path, message });
});

interface Contradiction {
  path: (string | number)[];
  message: string;
}

/** What each field allows but all of them together do not. */
function contradictions(profile: Profile): Contradiction[] {
  const found: Contradiction[] = [];
  const say = (path: (string | number)[], message: string) => found.push({ path, message });
  const kinds = profile.drivers.map(driver => driver.kind);

  if (new Set(kinds).size < kinds.length) say(['drivers'], 'names a driver twice');
  if (kinds.includes('at') !== (profile.at !== undefined))
    say(['at'], 'must be there exactly when "drivers" names the at driver');
  if (profile.match.usb.length === 0 && profile.match.generic === undefined)
    say(['match', 'usb'], 'needs at least one id, since the profile is not generic');
  const roles = new Set(profile.ports.rules.map(rule => rule.role));
  if (profile.match.generic === undefined)
    for (const [i, driver] of profile.drivers.entries())
      if (!roles.has(driver.port))
        say(['drivers', i, 'port'], `no rule in "ports" has the role ${driver.port}`);
  if (profile.signal.methods.includes('qeng') && !profile.signal.qengLteSinr)
    say(['signal', 'qengLteSinr'], 'is needed because methods names qeng');
  if (profile.signal.methods.includes('qcsq') && !profile.signal.qcsqLteSinr)
    say(['signal', 'qcsqLteSinr'], 'is needed because methods names qcsq');
  const rotations = profile.rotation.map(entry => entry.method);
  if (new Set(rotations).size < rotations.length) say(['rotation'], 'names a method twice');
  for (const [i, entry] of profile.rotation.entries())
    if (entry.expectSeconds < entry.dwellSeconds)
      say(['rotation', i, 'expectSeconds'], 'must not be below dwellSeconds');
  const { goneWithinSeconds, backWithinSeconds, readyWithinSeconds } = profile.reset;
  if (goneWithinSeconds > backWithinSeconds || backWithinSeconds > readyWithinSeconds)
    say(['reset'], 'must be in order: gone, back, ready');
  const rungs = profile.recovery.map(entry => entry.rung);
  const wanted = RecoveryRung.options.filter(rung => rungs.includes(rung));
  if (wanted.join() !== rungs.join())
    say(['recovery'], `must be in the order ${RecoveryRung.options.join(', ')}`);
  if (rotations.includes('mode-toggle') && profile.at && profile.at.modes === 'none')
    say(['rotation'], 'mode-toggle needs at.modes');
  if (profile.at && profile.at.modes !== 'none' && profile.at.modeVisited === undefined)
    say(['at', 'modeVisited'], 'is needed because at.modes is set');
  for (const [path, evidence] of evidenceOf(profile))
    for (const [i, key] of evidence.from.entries())
      if (profile.sources[key] === undefined)
        say([...path, 'evidence', 'from', i], `"${key}" is not among the sources`);
  return found;
}

/** Every section with its evidence. */
export function evidenceOf(profile: Profile): [(string | number)[], Evidence][] {
  return [
    [['match'], profile.match.evidence],
    [['ports'], profile.ports.evidence],
    [['signal'], profile.signal.evidence],
    [['connect'], profile.connect.evidence],
    [['reset'], profile.reset.evidence],
    [['capabilities'], profile.capabilities.evidence],
    ...(profile.at ? ([[['at'], profile.at.evidence]] as [(string | number)[], Evidence][]) : []),
    ...profile.drivers.map((one, i): [(string | number)[], Evidence] => [['drivers', i], one.evidence]),
    ...profile.rotation.map((one, i): [(string | number)[], Evidence] => [['rotation', i], one.evidence]),
    ...profile.recovery.map((one, i): [(string | number)[], Evidence] => [['recovery', i], one.evidence]),
  ];
}
