/**
 * Keeps the node's quota leases: tells the data plane how far each credential may go, asks the cloud for more before
 * that is used up, gives back what lies idle, and cuts when there is no more to be had. Without the cloud a credential
 * goes on with what it has, until that is used or the lease ends. What one lease does is quota-lease.ts, what is on
 * disk quota-book.ts, who lends cloud/server/quota.
 *
 * In this order a byte is never spent twice: what is given back is taken from the data plane, then written to disk, then
 * told; what is granted is used at once and written down later, for a lower limit on disk only means to ask again.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { DesiredState } from '@mastline/shared/domain/desired-state';
import type { QuotaClaim } from '@mastline/shared/domain/quota';
import type { DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import { MAX_LEASES } from '@mastline/shared/wire/limits';
import type { UplinkKind } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { DataPlane } from '../ports';
import type { NodeSpool } from '../spool/usage-spool';
import type { Boot } from './boot';
import type { LinkSession } from './link-session';
import type { BookedLease, LeaseEnd, QuotaBook } from './quota-book';
import { HeldQuota } from './quota-lease';

/** What an agent says in its hello that it takes. */
export const QUOTA_KINDS: DownlinkKind[] = ['quota-grant', 'quota-call'];
const REPORT: UplinkKind = 'quota-report';
/** How often the data plane's counts are looked at, milliseconds. */
export const LOOK_MS = 200;
/** An unanswered report is sent again after so long, milliseconds. */
const ANSWER_MS = 5_000;
/**
 * Between two questions for the same credential, milliseconds: while others are asked, the same once its flows have been
 * cut, and when there is nothing.
 */
const WAIT_MS = 250;
const CUT_WAIT_MS = 1_000;
const SPENT_WAIT_MS = 60_000;
/** Use is told so often though nothing is wanted, and a lease is renewed so often though nothing is used, milliseconds. */
const TELL_MS = 5_000;
const RENEW_MS = 3_600_000;
/** The same on a metered link, where a report and its answer cost some 700 bytes. */
const METERED = { tellMs: 1_800_000, renewMs: 6 * 3_600_000, spentWaitMs: 600_000 };
/** Grants are on disk within this time, milliseconds: cards wear out. */
const WRITE_MS = 30_000;

export interface QuotaKeeperOptions {
  spool: Pick<NodeSpool, 'credentialBytes'>;
  dataPlane: Pick<DataPlane, 'lend' | 'lent'>;
  book: QuotaBook;
  metered: boolean;
  clock: Clock;
  boot: Boot;
  /** Corrected epoch milliseconds. */
  now: () => number;
  log: Log;
}

/** A report that is under way. */
interface Asked {
  ask: number;
  session: LinkSession;
  uptimeMs: number;
  atMs: number;
  spent: Map<string, number>;
}

export class QuotaKeeper {
  readonly #options: QuotaKeeperOptions;
  readonly #held = new Map<string, HeldQuota>();
  /** On disk and not in any plan since the start. */
  readonly #booked = new Map<string, BookedLease>();
  #epoch: string | undefined;
  #isRead = false;
  #session: LinkSession | undefined;
  #asked: Asked | undefined;
  #nextAsk = 1;
  #isReporting = false;
  #looks: Timer | undefined;
  #lookedAt: number;
  #dirtyAt: number | null = null;
  /** One change of the set at a time. */
  #adopting: Promise<void> = Promise.resolve();

  constructor(options: QuotaKeeperOptions) {
    this.#options = options;
    this.#lookedAt = options.clock.monotonicMs();
  }

  /**
   * Keeps the quotas of `state` from now on. To be awaited before the data plane serves it: before, its credentials
   * have nothing. Rejects when the spool cannot say what was used.
   */
  adopt(state: DesiredState | null): Promise<void> {
    const done = this.#adopting.then(() => this.#adopt(state));
    this.#adopting = done.catch(() => undefined);
    return done;
  }

  /** A session is up; `takes` is what its welcome says. */
  begin(session: LinkSession, takes: readonly string[]): void {
    this.end();
    if (!takes.includes(REPORT)) return;
    this.#session = session;
    for (const held of this.#held.values()) {
      held.askAfter = Number.NEGATIVE_INFINITY;
      held.told.at = Number.NEGATIVE_INFINITY;
      held.isSpent = false;
    }
  }

  /** Nobody can be asked: whoever has nothing left is cut. */
  end(): void {
    this.#session = undefined;
    this.#asked = undefined;
    this.#lend([...this.#held.values()].filter(held => held.setHolds(false)));
  }

  granted(body: DownlinkBody<'quota-grant'>): void {
    const asked = this.#asked;
    if (!asked || body.ask !== asked.ask) return;
    this.#asked = undefined;
    if (body.epoch !== this.#epoch) return;
    const { clock } = this.#options;
    const now = clock.monotonicMs();
    const changed: HeldQuota[] = [];
    for (const grant of body.leases) {
      const held = this.#held.get(grant.credentialId);
      if (!held || held.quotaId !== grant.quotaId) continue;
      const isNew = held.hear(grant, { endsAt: asked.uptimeMs + grant.leaseMs, now });
      held.told = { spent: asked.spent.get(grant.credentialId) ?? -1, at: now };
      const mayHold = grant.outcome === 'granted' && held.left > 0 && !held.isGone;
      const holds = grant.outcome === 'exhausted' ? held.setHolds(false) : mayHold && held.setHolds(true);
      if (grant.outcome === 'wait') held.askAfter = now + (held.waitedOut(now) ? CUT_WAIT_MS : WAIT_MS);
      if (grant.outcome === 'exhausted') held.askAfter = now + this.#spentWaitMs();
      if (isNew || holds) changed.push(held);
    }
    const answered = new Set(body.leases.map(grant => grant.credentialId));
    for (const [id, spent] of asked.spent) {
      const held = this.#held.get(id);
      if (held?.isGone) this.#held.delete(id);
      else if (held && !answered.has(id)) {
        // The cloud knows no such quota: the state that says so is on its way.
        held.isCalled = false;
        held.told = { spent, at: now };
        held.askAfter = now + this.#spentWaitMs();
      }
    }
    this.#lend(changed);
    if (changed.length > 0) this.#dirtyAt ??= now;
  }

  /** Others want what is not used here, or there is more. */
  called({ credentialIds }: DownlinkBody<'quota-call'>): void {
    for (const id of credentialIds) {
      const held = this.#held.get(id);
      if (!held) continue;
      held.isCalled = true;
      held.isSpent = false;
      held.askAfter = Number.NEGATIVE_INFINITY;
    }
    void this.#report();
  }

  /** Stops, and writes down what is held. To be called after the data plane has stopped. */
  async close(): Promise<void> {
    this.#looks?.cancel();
    this.#looks = undefined;
    await this.#adopting;
    if (this.#isRead) await this.#write();
  }

  /** For the status page: bytes that each credential may still use here. */
  status(): { credentialId: string; leftBytes: number; endsInMs: number }[] {
    const uptimeMs = this.#options.boot.uptimeMs();
    return [...this.#held.values()].map(held => ({
      credentialId: held.credentialId,
      leftBytes: Math.max(0, held.left),
      endsInMs: Math.max(0, held.endsAt - uptimeMs),
    }));
  }

  async #adopt(state: DesiredState | null): Promise<void> {
    const wanted = new Map<string, string>();
    for (const { id, limits, suspended } of state?.credentials ?? [])
      if (limits?.quota?.leased && !suspended) wanted.set(id, limits.quota.lease);
    const { spool, clock } = this.#options;
    if (!this.#isRead) await this.#read();
    for (const [id, held] of this.#held)
      if (wanted.get(id) !== held.quotaId) {
        this.#look(held);
        held.isGone = true;
      }
    const ids = [...wanted.keys()].filter(id => this.#held.get(id)?.isGone !== false);
    if (ids.length === 0) return;
    const { epoch, bytes } = await spool.credentialBytes(ids);
    if (epoch !== this.#epoch) this.#renew(epoch);
    const now = clock.monotonicMs();
    const added = ids.map((credentialId, at) => {
      const quotaId = wanted.get(credentialId) ?? '';
      const spent = bytes[at] ?? 0;
      const before = this.#held.get(credentialId);
      const known = before?.quotaId === quotaId ? before : undefined;
      const booked = this.#booked.get(credentialId);
      const lease = booked?.quotaId === quotaId ? booked : undefined;
      this.#booked.delete(credentialId);
      const held = new HeldQuota({
        ...{ credentialId, quotaId, spent, now },
        loan: randomUUID(),
        limit: known?.limit ?? lease?.limit ?? spent,
        serial: known?.serial ?? lease?.serial ?? 0,
        endsAt: known?.endsAt ?? (lease ? this.#uptimeOf(lease.end) : Number.NEGATIVE_INFINITY),
      });
      this.#held.set(credentialId, held);
      if (this.#session) held.setHolds(true);
      return held;
    });
    this.#lend(added);
    this.#looks ??= clock.every(LOOK_MS, () => this.#lookAtAll());
  }

  #lookAtAll(): void {
    const { clock, boot, log } = this.#options;
    const now = clock.monotonicMs();
    const sinceMs = now - this.#lookedAt;
    this.#lookedAt = now;
    const uptimeMs = boot.uptimeMs();
    const changed: HeldQuota[] = [];
    for (const held of this.#held.values()) {
      this.#look(held, sinceMs);
      if (uptimeMs >= held.endsAt && held.left > 0) {
        log.warn('a quota lease has ended without the cloud: its credential has nothing', {
          code: 'quota/lease-ended',
          credentialId: held.credentialId,
          bytes: held.left,
        });
        held.lower(held.carried);
        changed.push(held);
      }
      if (held.waitedOut(now) && held.setHolds(false)) {
        held.askAfter = now + WAIT_MS;
        changed.push(held);
      }
    }
    this.#lend(changed);
    if (this.#dirtyAt !== null && now - this.#dirtyAt >= WRITE_MS) void this.#written();
    void this.#report();
  }

  #look(held: HeldQuota, sinceMs = LOOK_MS): void {
    const [state] = this.#options.dataPlane.lent([held.credentialId]);
    if (state && !held.isGone) held.look(state, { now: this.#options.clock.monotonicMs(), sinceMs });
  }

  /** Whether there is something to say about this one. */
  #isDue(held: HeldQuota, now: number): boolean {
    if (held.isCalled || held.isGone) return true;
    const { metered } = this.#options;
    const since = now - held.told.at;
    if (since >= (metered ? METERED.renewMs : RENEW_MS)) return true;
    if (held.carried > held.told.spent && since >= (metered ? METERED.tellMs : TELL_MS)) return true;
    if (held.left > held.keeps(now)) return true;
    return now >= held.askAfter && held.wants(now) > 0 && (held.isDry() || !held.isSpent);
  }

  /** Says what is due, one report at a time. */
  async #report(): Promise<void> {
    const { clock, boot, spool, log } = this.#options;
    const session = this.#session;
    const now = clock.monotonicMs();
    if (this.#asked && now - this.#asked.atMs >= ANSWER_MS) this.#asked = undefined;
    if (!session || this.#isReporting || this.#asked) return;
    const due = [...this.#held.values()].filter(held => this.#isDue(held, now)).slice(0, MAX_LEASES);
    if (due.length === 0) return;
    this.#isReporting = true;
    try {
      const ids = due.map(held => held.credentialId);
      const { epoch, bytes } = await spool.credentialBytes(ids);
      if (epoch !== this.#epoch) {
        this.#renew(epoch);
        return;
      }
      const uptimeMs = boot.uptimeMs();
      const spent = new Map(ids.map((id, at) => [id, bytes[at] ?? 0]));
      const claims = due.map(held => this.#claim(held, spent.get(held.credentialId) ?? 0));
      const isWritten = !claims.some(({ isReturn }) => isReturn) || (await this.#written());
      // What is not on disk must not be told: a restart would use it after others have it.
      const told = claims.filter(({ isReturn }) => isWritten || !isReturn);
      if (this.#session !== session || told.length === 0) return;
      const ask = this.#nextAsk++;
      const sent = session.send(REPORT, { ask, epoch, leases: told.map(({ claim }) => claim) });
      if (sent === 'sent') this.#asked = { ask, session, uptimeMs, atMs: clock.monotonicMs(), spent };
    } catch (error) {
      log.warn('quota leases cannot be reported now', { error });
    } finally {
      this.#isReporting = false;
    }
  }

  /** What is said of one; what it does not keep is taken from the data plane first. */
  #claim(held: HeldQuota, spent: number): { claim: QuotaClaim; isReturn: boolean } {
    const now = this.#options.clock.monotonicMs();
    this.#look(held);
    if (held.reconcile(spent)) this.#lend([held]);
    const keeps = held.keeps(now);
    const isReturn = held.left > keeps;
    if (isReturn) {
      held.lower(held.carried + keeps);
      this.#lend([held]);
      // What was carried between the two: it cannot be given back any more.
      this.#look(held);
      held.lower(held.limit);
    }
    const { credentialId, quotaId, serial } = held;
    // Asked for ahead of what is committed, which is behind what was carried.
    const wants = held.wants(now);
    const ahead = wants === 0 ? 0 : wants + Math.max(0, held.carried - spent);
    return { claim: { credentialId, quotaId, spent, limit: held.limit, serial, wants: ahead }, isReturn };
  }

  #lend(changed: readonly HeldQuota[]): void {
    if (changed.length > 0) this.#options.dataPlane.lend(changed.map(held => held.loan()));
  }

  #spentWaitMs(): number {
    return this.#options.metered ? METERED.spentWaitMs : SPENT_WAIT_MS;
  }

  /** The spool began to count anew: what was lent in the old count is over, and on disk there is nothing of use. */
  #renew(epoch: string): void {
    if (this.#epoch !== undefined)
      this.#options.log.warn('the spool counts anew: quota leases are asked for anew', { epoch });
    this.#epoch = epoch;
    this.#booked.clear();
    for (const held of this.#held.values()) this.#restart(held);
  }

  /** From a count of zero; what has been committed in the new one is found with the first report. */
  #restart(held: HeldQuota): void {
    if (held.isGone) {
      this.#held.delete(held.credentialId);
      return;
    }
    const { credentialId, quotaId } = held;
    const next = new HeldQuota({
      ...{ credentialId, quotaId, spent: 0, limit: 0, serial: 0 },
      loan: randomUUID(),
      endsAt: Number.NEGATIVE_INFINITY,
      now: this.#options.clock.monotonicMs(),
    });
    next.setHolds(this.#session !== undefined);
    this.#held.set(credentialId, next);
    this.#lend([next]);
  }

  async #read(): Promise<void> {
    const found = await this.#options.book.read();
    const { epoch } = await this.#options.spool.credentialBytes([]);
    this.#isRead = true;
    this.#epoch = epoch;
    // Of a spool that is gone: what was spent of these is not known any more.
    if (found?.epoch !== epoch) return;
    for (const lease of found.leases) this.#booked.set(lease.credentialId, lease);
  }

  /** Writes; false when the disk refuses. */
  async #written(): Promise<boolean> {
    try {
      await this.#write();
      return true;
    } catch (error) {
      this.#options.log.warn('quota leases cannot be written down', { code: 'quota/unwritten', error });
      return false;
    }
  }

  async #write(): Promise<void> {
    const leases = [...this.#held.values()]
      .filter(held => !held.isGone)
      .map(({ credentialId, quotaId, limit, serial, endsAt }) => ({
        ...{ credentialId, quotaId, limit, serial },
        end: this.#endOf(endsAt),
      }));
    if (this.#epoch === undefined) return;
    const before = this.#dirtyAt;
    await this.#options.book.write({ epoch: this.#epoch, leases: [...leases, ...this.#booked.values()] });
    if (this.#dirtyAt === before) this.#dirtyAt = null;
  }

  #endOf(endsAt: number): LeaseEnd {
    const { boot, now } = this.#options;
    const remainingMs = Math.max(0, endsAt - boot.uptimeMs());
    const end = boot.uptimeMs() + remainingMs;
    return { bootId: boot.id, uptimeMs: end, at: now() + remainingMs, remainingMs };
  }

  /** In this boot's milliseconds. After another boot the wall clock counts, but gives no more than there was. */
  #uptimeOf(end: LeaseEnd): number {
    const { boot, now } = this.#options;
    if (end.bootId === boot.id) return end.uptimeMs;
    return boot.uptimeMs() + Math.min(end.remainingMs, end.at - now());
  }
}
