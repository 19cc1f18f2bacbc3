/** A spool in a folder of its own, and the deltas that go in. */
import { join } from 'node:path';
import { createLog, type LogFields } from '@mastline/agent/observe/log';
import type { UsageDelta } from '@mastline/agent/ports';
import { type NodeSpool, openUsageSpool } from '@mastline/agent/spool/usage-spool';
import type { Clock } from '@mastline/shared/base/clock';
import type { CodedError } from '@mastline/shared/base/coded-error';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { agentBuilt } from '../../support/build-agent';

export const MINUTE = Date.UTC(2026, 10, 23, 12, 30);

export interface TestSpool {
  spool: NodeSpool;
  lines: LogFields[];
  faults: CodedError[];
}

export async function openSpool(
  folder: string,
  now: () => number = () => MINUTE,
  options: Clock | { awaitsCorrection: boolean } = { awaitsCorrection: false },
): Promise<TestSpool> {
  await agentBuilt();
  const lines: LogFields[] = [];
  const faults: CodedError[] = [];
  const spool = await openUsageSpool({
    path: join(folder, 'spool.db'),
    now,
    log: createLog({ level: 'debug', write: line => void lines.push(JSON.parse(line)) }),
    onFault: fault => void faults.push(fault),
    ...('every' in options ? { clock: options } : options),
  });
  return { spool, lines, faults };
}

export function delta(changes: Partial<UsageDelta> = {}): UsageDelta {
  return {
    endpointId: 'e1',
    credentialId: 'c1',
    slot: 1,
    imei: null,
    upBytes: 10,
    downBytes: 100,
    flows: 1,
    ...changes,
  };
}

export function totals(records: readonly UsageRecord[]): { up: number; down: number; flows: number } {
  return records.reduce(
    (sum, { upBytes, downBytes, flows }) => ({
      up: sum.up + upBytes,
      down: sum.down + downBytes,
      flows: sum.flows + flows,
    }),
    { up: 0, down: 0, flows: 0 },
  );
}

/** The code a promise rejects with; fails when it resolves. */
export async function codeFrom(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
  throw new Error('resolved, but should have rejected');
}
