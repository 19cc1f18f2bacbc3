/**
 * Every knob by which a simulator misbehaves has a test that turns it and looks at what the agent does. Each list of
 * knobs is read from its simulator; a knob without a row here fails, and so does a row whose file does not turn the
 * knob. Error tables are run through whole by the drivers' tests, from the tables themselves; fuzzed parsers are named
 * here, too.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CALM, FAIR_NETWORK, READY_SIM } from '../simulators/at/knobs';
import { CARRIER_KNOB_NAMES, KNOB_NAMES } from '../simulators/control';
import { usualKnobs } from '../simulators/hilink-knobs';
import { DEFAULT_KNOBS } from '../simulators/mbim/knobs';
import { suite } from '../support/suite';

const test = suite('knobs and tables');
const root = join(import.meta.dirname, '..');
const textOf = (file: string) => readFileSync(join(root, file), 'utf8');

const HILINK = 'agent/modem-plane/hilink/driver.test.ts';
const AT = 'agent/modem-plane/at/misbehaviour.test.ts';
const AT_DRIVER = 'agent/modem-plane/at/driver.test.ts';
const MBIM = 'agent/modem-plane/mbim/driver.test.ts';
const MBIM_SESSION = 'agent/modem-plane/mbim/session.test.ts';
const STICKS = 'system/virtual-modems.test.ts';
const MIXED = 'system/mixed-modems.test.ts';

interface Simulator {
  knobs: readonly string[];
  /** Knob → the file whose tests turn it. */
  tested: Record<string, string>;
}

const SIMULATORS: Record<string, Simulator> = {
  'HiLink stick': {
    knobs: Object.keys(usualKnobs()),
    tested: {
      ...rows(HILINK, Object.keys(usualKnobs())),
    },
  },
  'AT modem': {
    knobs: Object.keys(CALM),
    tested: rows(AT, Object.keys(CALM)),
  },
  'network around an AT modem': {
    knobs: Object.keys(FAIR_NETWORK),
    tested: {
      ...rows(AT, ['registrationDelayMs', 'dialDelayMs', 'ussdDelayMs', 'coverage', 'roaming', 'credit']),
      ...rows(AT, ['has3g', 'addresses']),
      ...rows(AT_DRIVER, ['nr', 'stickiness', 'carrier', 'plmn', 'dnsServers', 'apn', 'ussd']),
      // The driver never scans; ModemManager does.
      scanMs: 'agent/modem-plane/at/judged-by-tools.test.ts',
    },
  },
  'SIM of an AT modem': { knobs: Object.keys(READY_SIM), tested: rows(AT, Object.keys(READY_SIM)) },
  'MBIM modem': {
    knobs: Object.keys(DEFAULT_KNOBS),
    tested: {
      ...rows(MBIM, Object.keys(DEFAULT_KNOBS)),
      ...rows(MBIM_SESSION, [
        'hung',
        'ignoredOpens',
        'replyDelayMs',
        'nextWrongTransaction',
        'nextTruncatedInfo',
        'nextFragmentFault',
      ]),
      resetMs: 'agent/modem-plane/mbim/transports.test.ts',
    },
  },
  'running virtual modem': {
    knobs: KNOB_NAMES,
    tested: {
      ...rows(STICKS, ['address', 'data', 'connection']),
      ...rows(MIXED, ['api']),
      ...rows('system/ipv6-slots.test.ts', ['data6']),
      ...rows('storm/misfortunes.ts', ['carrier', 'credit', 'register', 'sim']),
    },
  },
  'carrier of a running virtual modem': {
    knobs: CARRIER_KNOB_NAMES,
    tested: {
      sticky: 'storm/misfortunes.ts',
      ...rows('agent/modem-plane/rotation/rotation.test.ts', ['connectDelayMs', 'holdsAddressMs']),
      ...rows(HILINK, ['registrationDelayMs', 'throttle']),
    },
  },
};

function rows(file: string, knobs: readonly string[]): Record<string, string> {
  return Object.fromEntries(knobs.map(knob => [knob, file]));
}

/** As a field that is set, a field that is assigned, or a name that is turned. */
function turns(text: string, knob: string): boolean {
  return new RegExp(`\\b${knob}\\s*[:=]|[{,(]\\s*${knob}\\s*[},)]|\\.${knob}\\b|'${knob}'`).test(text);
}

for (const [name, { knobs, tested }] of Object.entries(SIMULATORS))
  test(`every knob of the ${name} is turned by a test`, () => {
    assert.ok(knobs.length > 0);
    assert.equal(
      knobs.filter(knob => tested[knob] === undefined),
      [],
      'knobs without a test',
    );
    assert.equal(
      Object.keys(tested).filter(knob => !knobs.includes(knob)),
      [],
      'rows without a knob',
    );
    assert.equal(
      Object.entries(tested).filter(([knob, file]) => !turns(textOf(file), knob)),
      [],
      'tests that do not turn their knob',
    );
  });

test('every table of errors is run through whole, by tests that read it', () => {
  const tables: [file: string, functions: string[]][] = [
    [HILINK, ['knownErrors']],
    [AT, ['knownErrors']],
    [MBIM, ['knownStatuses', 'knownCauses', 'knownProtocolErrors']],
  ];
  for (const [file, functions] of tables)
    for (const one of functions) assert.match(textOf(file), new RegExp(`${one}\\(\\)`), `${file}: ${one}`);
});

test('every parser of what modems say is given noise, and its input cut at every byte', () => {
  const parsers: [file: string, tests: string[]][] = [
    [
      'hilink/xml.test.ts',
      ['every cut of a reply is either refused or the whole', 'noise never does anything but throw'],
    ],
    ['hilink/text.test.ts', ['reads any bytes without throwing, cut anywhere']],
    ['at/lexer.test.ts', ['any bytes cut in any way give the same tokens']],
    ['at/channel.test.ts', ['split anywhere', 'stays bounded and changes nothing']],
    ['at/replies.test.ts', ['no line can break a reader']],
    [
      'sms/sms.test.ts',
      ['every prefix of a message is refused with a code', 'any octets are read or refused'],
    ],
    ['sms/delivered.test.ts', ['a message cut short is none', 'hostile bytes give a message or none']],
    ['mbim/codec.test.ts', ['every reader takes or refuses any bytes', 'the fuzz goes over every reader']],
    ['mbim/session.test.ts', ['an answer cut at every length is refused with a code or read']],
  ];
  for (const [file, tests] of parsers)
    for (const one of tests) assert.ok(textOf(`agent/modem-plane/${file}`).includes(one), `${file}: ${one}`);
});

test.run();
