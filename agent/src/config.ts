/**
 * The agent's configuration file: one JSON document, all its problems told at once. With a `cloud` it makes a node
 * (endpoints and credentials come from there), read once at start; without, the file itself says what to serve
 * (standalone-file.ts) and is read again when the agent is told to. agent/README.md documents every field.
 */
import { readFileSync } from 'node:fs';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import { AllowTargets, Firewall, Metrics, Threads } from './config-fields';
import { SimSettings } from './modem-plane/sim-settings';
import { SlotConfig } from './modem-plane/slot-config';
import { StandaloneFile } from './standalone-file';

/** What may be done to the box to bring a modem back; nothing that harms others when left out. */
const Recovery = z.strictObject({
  /** Where all ports of a hub are switched together (Raspberry Pi), other devices may lose power with a modem. */
  cutNeighbours: z.boolean().default(false),
  /** The box may restart, at most once a day, when no modem carries and nothing else has helped. */
  hostReboot: z.boolean().default(false),
});

/** Servers for `agent speedtest`. */
const SpeedTest = z.strictObject({
  /** Answers with as many bytes as its address says. */
  downUrl: z
    .url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' })
    .refine(url => /\{bytes\}|%7Bbytes%7D/i.test(url), 'must say where the number of bytes goes: {bytes}'),
  /** Takes a POST of any length. */
  upUrl: z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' }).optional(),
});

const NodeFile = z.strictObject({
  dataDir: z.string().min(1),
  cloud: z.strictObject({
    url: z.url({ protocol: /^https?$/, error: 'must be the http(s):// address of the cloud' }),
    /** An HTTP proxy to reach the cloud through, with user name and password in it where it wants them. */
    proxy: z
      .url({
        protocol: /^https?$/,
        error: 'must be the http(s):// address of a proxy, as http://NAME:PASSWORD@HOST:PORT',
      })
      .optional(),
    /** Certificates (PEM) to believe beside the well-known ones. */
    caFile: z.string().min(1).optional(),
    /** The box reaches the cloud over SIM data: the link then costs at most 6 MB a month while nothing happens. */
    metered: z.boolean().default(false),
  }),
  /** `"discover"`, alone or in the list: whatever is plugged into USB, beside the slots that are listed. */
  slots: z.union([
    z.literal('discover').transform((word): (SlotConfig | 'discover')[] => [word]),
    z.array(z.union([z.literal('discover'), SlotConfig])).max(256),
  ]),
  /** State folder of a virtual network whose modems come and go; `virtual` in `dataDir` when left out. */
  virtual: z.string().min(1).optional(),
  /** Services that answer with the address they see, asked through each modem. */
  echoUrls: z.array(z.url({ protocol: /^http$/, error: 'must be an http:// URL' })).max(8),
  allowTargets: AllowTargets,
  /** What is known of the SIMs: PINs and data caps. */
  sims: z.array(SimSettings).max(256).default([]),
  recovery: Recovery.default({ cutNeighbours: false, hostReboot: false }),
  speedTest: SpeedTest.optional(),
  threads: Threads.default(1),
  firewall: Firewall,
  metrics: Metrics.optional(),
});

export type StandaloneConfig = { kind: 'standalone' } & z.infer<typeof StandaloneFile>;
export type NodeConfig = { kind: 'node' } & z.infer<typeof NodeFile>;
export type AgentConfig = StandaloneConfig | NodeConfig;

/** Reads the file at `path`. Throws `config/unreadable`, or `config/invalid` with every problem in it. */
export function readAgentConfig(path: string): AgentConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new CodedError('config/unreadable', `cannot read ${path}: ${messageOf(error)}`, {
      userMessage:
        codeOf(error) === 'ENOENT'
          ? `There is no file ${path}.`
          : `The file ${path} cannot be read: ${messageOf(error)}.`,
      cause: error,
    });
  }
  return parseAgentConfig(text, path);
}

/** The same from the file's text. */
export function parseAgentConfig(text: string, path: string): AgentConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // V8 quotes a piece of the text in its message, and the text holds secrets: only the place is told.
    const place = /position \d+(?: \(line \d+ column \d+\))?/.exec(messageOf(error))?.[0];
    throw new CodedError('config/invalid', `${path} is not JSON${place ? `, at ${place}` : ''}`);
  }
  const isNode = typeof value === 'object' && value !== null && 'cloud' in value;
  return isNode
    ? { kind: 'node', ...parseOrExplain(NodeFile, value, path, 'config/invalid') }
    : { kind: 'standalone', ...parseOrExplain(StandaloneFile, value, path, 'config/invalid') };
}
