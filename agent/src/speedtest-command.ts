/**
 * The command `speedtest`, both ends: the running agent's action on its status socket, the question to it, and the
 * answer in words. What is measured stands in modem-plane/health/speed-test.ts.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import type { SpeedTestResult } from './modem-plane/health/speed-test';
import { askAction, type LocalActions } from './observe/status-page';

/** Both directions with their deadlines, and some. */
const ANSWER_MS = 90_000;
const MAX_MB = 10_000;

const Direction = z.looseObject({ bytes: z.number(), tookMs: z.number(), bitsPerSecond: z.number() });
const Answer = z.looseObject({
  latencyMs: z.number(),
  down: Direction,
  up: Direction.nullable(),
  usedBytes: z.number(),
});

/** `POST /speedtest?slot=N&maxMb=M`. */
export function speedTestAction(plane: {
  speedTest(slot: number, maxBytes: number): Promise<SpeedTestResult>;
}): NonNullable<LocalActions[string]> {
  return async query => {
    const slot = query.get('slot') ?? '';
    const maxMb = Number(query.get('maxMb'));
    if (!/^\d{1,5}$/.test(slot))
      throw new CodedError('speedtest/no-slot', `slot is "${slot}"`, {
        userMessage: 'Say which slot: its number, as agent status shows it.',
      });
    if (!(maxMb > 0 && maxMb <= MAX_MB))
      throw new CodedError('speedtest/budget', `maxMb is "${query.get('maxMb')}"`, {
        userMessage: `Say how much data it may cost: --max-mb, up to ${MAX_MB}.`,
      });
    return plane.speedTest(Number(slot), Math.floor(maxMb * 1_000_000));
  };
}

/** The figures. Throws `status/no-agent`, or what the agent has against it. */
export async function askSpeedTest(dataDir: string, slot: number, maxMb: number): Promise<SpeedTestResult> {
  const query = { slot: String(slot), maxMb: String(maxMb) };
  const answer = await askAction(dataDir, { name: 'speedtest', query, deadlineMs: ANSWER_MS });
  return parseOrExplain(Answer, answer, 'The agent’s answer', 'speedtest/bad-answer');
}

/** For a terminal. */
export function inWords(slot: number, { latencyMs, down, up, usedBytes }: SpeedTestResult): string {
  const rate = (of: { bitsPerSecond: number; bytes: number; tookMs: number }) =>
    `${(of.bitsPerSecond / 1e6).toFixed(1)} Mbit/s (${(of.bytes / 1e6).toFixed(1)} MB in ${(of.tookMs / 1000).toFixed(1)} s)`;
  return [
    `Slot ${slot}: first byte after ${latencyMs} ms`,
    `  down  ${rate(down)}`,
    `  up    ${up === null ? 'not measured: the configuration names no "upUrl"' : rate(up)}`,
    `  cost  at most ${(usedBytes / 1e6).toFixed(1)} MB of the SIM's data`,
  ].join('\n');
}
