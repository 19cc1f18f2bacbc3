/**
 * How a quota is lent: one node's word against what stands in the book. Pure; lease-store.ts keeps the book in the
 * database under the quota's lock, quota-desk.ts talks to nodes.
 *
 * At every moment used + what is lent and not used ≤ bytes of the quota (unless the quota was made smaller: then
 * nothing is lent until that holds again). A node goes no further than it was allowed, so nodes together never go
 * beyond the quota, with two exceptions that are stated:
 *
 * - A node that is killed forgets what it carried and had not committed: 8 MiB a slot (agent limits.ts), unbilled.
 * - A lease whose node is silent for LEASE_MS is taken back, less what the ledger says was used of it. A node that
 *   was serving all that time without its cloud, and comes back later, may have used up to that lease: MAX_LEASE_BYTES
 *   at most. Waiting for ever would be exact, and a box that burnt down would keep its share for ever.
 */
import type { QuotaPeriod } from '@mastline/shared/domain/quota';
import { quotaPeriodStart } from '@mastline/shared/domain/quota';

/** A silent node keeps its lease so long: through an outage of a night; the next day its share is others'. */
export const LEASE_MS = 86_400_000;
/** Most that one node may have ahead of what it has used, bytes. */
export const MAX_LEASE_BYTES = 256 * 2 ** 20;
/** Less than this is not split further between nodes, bytes. */
export const SMALL_BYTES = 2 ** 20;

export interface QuotaBook {
  bytes: number;
  period: QuotaPeriod;
  setAt: number;
  periodStart: number;
  used: number;
}

/** See prisma/schema/quota.prisma. */
export interface LeaseEntry {
  nodeId: string;
  epoch: string;
  spent: number;
  counted: number;
  allowed: number;
  serial: number;
  expiresAt: number;
  reclaimed: boolean;
  openedSpent: number;
  openedLedger: number;
}

/** A node's word; numbers as in shared/domain/quota.ts. */
export interface Claim {
  nodeId: string;
  epoch: string;
  spent: number;
  limit: number;
  serial: number;
  wants: number;
}

export interface Settlement {
  quota: QuotaBook;
  /** All that changed, the claimant's included. */
  changed: LeaseEntry[];
  answer: { serial: number; limit: number; outcome: 'granted' | 'wait' | 'exhausted' };
  /** Nodes that have bytes of which the claimant wants some. */
  ask: string[];
}

/** Bytes that may still be lent; below zero when the quota was made smaller than what is out. */
export function available(quota: QuotaBook, leases: Iterable<LeaseEntry>): number {
  let left = quota.bytes - quota.used;
  for (const lease of leases) left -= lease.allowed - lease.counted;
  return left;
}

/** The quota as it is at `now`: in a new period nothing is used, and what is lent counts in that one when it is used. */
export function inPeriod(quota: QuotaBook, now: number): QuotaBook {
  const periodStart = quotaPeriodStart(quota.period, quota.setAt, now);
  // Never back: a cloud whose clock was ahead for a moment must not give a month twice.
  return periodStart <= quota.periodStart ? quota : { ...quota, periodStart, used: 0 };
}

/** Leases that end without their node's word: silent too long, or of a spool that their node has lost. */
export function endedLeases(leases: readonly LeaseEntry[], claim: Claim | null, now: number): LeaseEntry[] {
  return leases.filter(
    lease =>
      lease.allowed > lease.counted &&
      (claim !== null && lease.nodeId === claim.nodeId
        ? lease.epoch !== claim.epoch || lease.expiresAt <= now
        : lease.expiresAt <= now),
  );
}

/** Takes a lease back. `ledger`: the sum of its node and credential now. */
export function takeBack(lease: LeaseEntry, ledger: number): LeaseEntry {
  const told = lease.openedSpent + Math.max(0, ledger - lease.openedLedger);
  const counted = Math.min(lease.allowed, Math.max(lease.counted, told));
  return { ...lease, counted, allowed: counted, serial: lease.serial + 1, reclaimed: true };
}

/**
 * Takes a node's word down and answers it. `ledgerOf` gives the ledger's sums for `endedLeases`, and for the claimant
 * when it has no lease yet. `entitled`: the node may have more of this quota.
 */
export function settle(
  before: { quota: QuotaBook; leases: readonly LeaseEntry[] },
  claim: Claim,
  at: { now: number; entitled: boolean; ledgerOf(nodeId: string): number },
): Settlement {
  let quota = inPeriod(before.quota, at.now);
  const book = new Map(before.leases.map(lease => [nameOf(lease), lease]));
  const changed = new Map<string, LeaseEntry>();
  const write = (lease: LeaseEntry, was: LeaseEntry | undefined): void => {
    const more = lease.counted - (was?.counted ?? lease.counted);
    // An estimate that a new period has forgotten is not taken off this one.
    quota = { ...quota, used: Math.max(0, quota.used + more) };
    book.set(nameOf(lease), lease);
    changed.set(nameOf(lease), lease);
  };
  for (const lease of endedLeases(before.leases, claim, at.now))
    write(takeBack(lease, at.ledgerOf(lease.nodeId)), lease);

  const was = book.get(nameOf(claim));
  const own = was ? heard(was, claim) : opened(claim, at.ledgerOf(claim.nodeId));
  write(own, was);

  // A count that went back is that of a restored file: it gets nothing until its epoch is over.
  const isOld = claim.spent < own.spent;
  const others = [...book.values()].filter(
    lease => lease.nodeId !== claim.nodeId && lease.allowed > lease.counted,
  );
  const ahead = own.allowed - own.spent;
  const wanted = Math.min(claim.wants, MAX_LEASE_BYTES) - ahead;
  const free = available(quota, book.values());
  const more = at.entitled && !isOld ? shareOf(wanted, free, others.length) : 0;
  const allowed = isOld ? own.spent : own.allowed + more;
  const limit = isOld ? claim.spent : allowed;
  const isNews = limit !== claim.limit || own.serial !== claim.serial;
  const final: LeaseEntry = {
    ...own,
    allowed,
    serial: isNews ? Math.max(own.serial, claim.serial) + 1 : own.serial,
    expiresAt: at.now + LEASE_MS,
  };
  write(final, own);
  const isRefused = isOld || !at.entitled;
  const isShort = wanted > 0 && more < wanted && !isRefused;
  const isDry = isShort && more === 0;
  const ask = isShort ? [...new Set(others.map(lease => lease.nodeId))] : [];
  return {
    quota,
    changed: [...changed.values()],
    answer: {
      serial: final.serial,
      limit,
      outcome: isRefused || (isDry && ask.length === 0) ? 'exhausted' : isDry ? 'wait' : 'granted',
    },
    ask,
  };
}

/** A node's word on a lease that it has. */
function heard(lease: LeaseEntry, claim: Claim): LeaseEntry {
  const spent = Math.max(lease.spent, claim.spent);
  // Taken back: the node hears so with this answer, and what it used meanwhile it says itself.
  if (lease.reclaimed) return { ...lease, spent, counted: spent, allowed: spent, reclaimed: false };
  const given = claim.serial === lease.serial ? Math.min(lease.allowed, claim.limit) : lease.allowed;
  return { ...lease, spent, counted: spent, allowed: Math.max(given, spent) };
}

/** A node's first word: what it used before it was told of the quota is not counted. */
function opened(claim: Claim, ledger: number): LeaseEntry {
  const { nodeId, epoch, spent } = claim;
  return {
    ...{ nodeId, epoch, spent },
    counted: spent,
    allowed: spent,
    serial: 0,
    expiresAt: 0,
    reclaimed: false,
    openedSpent: spent,
    openedLedger: ledger,
  };
}

/** Bytes to lend of what is free, to one of several nodes that may all want some. */
function shareOf(wanted: number, free: number, others: number): number {
  if (wanted <= 0 || free <= 0) return 0;
  const fair = Math.max(SMALL_BYTES, Math.floor(free / (others + 1)));
  return Math.min(wanted, free, fair);
}

const nameOf = (of: { nodeId: string; epoch: string }) => `${of.nodeId} ${of.epoch}`;
