/** What passes between usage-spool.ts and the thread that owns the file. Plain values only. */
import type { UsageRecord } from '@mastline/shared/domain/usage';
import type { BrokenFile } from './database';
import type {
  CommitEntry,
  Correction,
  CredentialCounts,
  Renewal,
  SlotDays,
  SpoolPosition,
} from './usage-table';

export interface SpoolWorkerData {
  path: string;
  nowMs: number;
  /** One Int32: number of the last commit that is on disk, told here before its message gets through. */
  committed: SharedArrayBuffer;
}

/** Each operation: what it takes and what it gives. */
export interface SpoolCalls {
  commit: { takes: { entries: CommitEntry[] }; gives: null };
  position: { takes: Record<never, never>; gives: SpoolPosition };
  recordsAfter: {
    takes: { sequence: number; limit: number; epoch: string | undefined };
    gives: UsageRecord[];
  };
  acknowledge: { takes: { mark: number; epoch: string | undefined }; gives: null };
  renew: { takes: { mark: number; nowMs: number }; gives: Renewal };
  credentialBytes: { takes: { credentialIds: readonly string[] }; gives: CredentialCounts };
  slotDays: { takes: { fromDay: number }; gives: SlotDays };
  restamp: { takes: { correction: Correction }; gives: null };
  /** Looks whether the file is still whole and still there, and takes the reserve again when it can. */
  check: { takes: { nowMs: number }; gives: null };
  close: { takes: Record<never, never>; gives: null };
}
export type SpoolOperation = keyof SpoolCalls;

export type SpoolRequest = {
  [K in SpoolOperation]: { id: number; operation: K } & SpoolCalls[K]['takes'];
}[SpoolOperation];

/** How the file and its disk stand, for people. */
export interface SpoolHealth {
  /** What the last write failed with; null once one has succeeded again. */
  problem: { code: string; message: string } | null;
  /** The room kept free for usage: there, or given up to a full disk. */
  reserve: 'whole' | 'used';
  /** The last file of this run that was broken and moved aside: usage that was only there is lost to the ledger. */
  broken: BrokenFile | null;
}

export interface SpoolFailure {
  code: string;
  message: string;
  userMessage: string;
  retryable: boolean;
}

export type SpoolReply =
  | { is: 'open'; health: SpoolHealth }
  /** Comes before the answer of the call that changed it. */
  | { is: 'health'; health: SpoolHealth }
  | { is: 'not-open'; failure: SpoolFailure }
  | { is: 'done'; id: number; value: SpoolCalls[SpoolOperation]['gives'] }
  | { is: 'failed'; id: number; failure: SpoolFailure };
