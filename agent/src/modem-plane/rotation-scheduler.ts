/**
 * Rotates slots when their schedules say so: one timer a slot, one rotation at a time on the node, so that siblings
 * never leave together. A rotation that may not be now is tried again when it may. When is rotation-schedule.ts.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { RotationRecord, RotationSchedule } from '@mastline/shared/domain/rotation';
import type { Log } from '../observe/log';
import { nextRotationAt } from './rotation-schedule';

/** The wall clock may be set while we wait: looked at again at least so often. */
const LOOK_MS = 5 * 60_000;
/** A modem that cannot be rotated now, for a reason that has no end in sight. */
const AGAIN_MS = 60_000;
/** Past this a rotation at a time of day has missed it. */
const MISSED_MS = 60 * 60_000;

export interface SchedulerOptions {
  clock: Clock;
  /** Corrected epoch milliseconds. */
  now: () => number;
  random: () => number;
  log: Log;
  rotate(slot: number): Promise<RotationRecord>;
  /** End of the slot's last rotation, epoch milliseconds; null when none is known. */
  lastEnd(slot: number): number | null;
}

interface Plan {
  schedule: RotationSchedule;
  knownSince: number;
  due: number;
  timer: Timer | undefined;
  /** It is due, or under way. */
  busy: boolean;
}

export class RotationScheduler {
  readonly #options: SchedulerOptions;
  readonly #plans = new Map<number, Plan>();
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
  }

  /** These from now on and no others; a schedule that did not change keeps its next time. */
  set(schedules: ReadonlyMap<number, RotationSchedule>): void {
    for (const [slot, plan] of this.#plans) {
      if (JSON.stringify(schedules.get(slot)) === JSON.stringify(plan.schedule)) continue;
      plan.timer?.cancel();
      this.#plans.delete(slot);
    }
    if (this.#closed) return;
    for (const [slot, schedule] of schedules) {
      if (this.#plans.has(slot)) continue;
      const plan = { schedule, knownSince: this.#options.now(), due: 0, timer: undefined, busy: false };
      this.#plans.set(slot, plan);
      this.#arm(slot, plan);
    }
  }

  /** A rotation of the slot has ended, whoever asked for it. */
  ended(slot: number): void {
    const plan = this.#plans.get(slot);
    if (plan && !plan.busy) this.#arm(slot, plan);
  }

  /** Next time of a slot, epoch milliseconds; null without a schedule. */
  due(slot: number): number | null {
    return this.#plans.get(slot)?.due ?? null;
  }

  /** No more begin; resolves when the one under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const plan of this.#plans.values()) plan.timer?.cancel();
    await this.#turn;
  }

  #arm(slot: number, plan: Plan): void {
    const { now, random, lastEnd } = this.#options;
    const lastMs = lastEnd(slot) ?? plan.knownSince;
    plan.due = nextRotationAt(plan.schedule, { nowMs: now(), lastMs, random });
    this.#wait(slot, plan);
  }

  #wait(slot: number, plan: Plan): void {
    plan.timer?.cancel();
    if (this.#closed || this.#plans.get(slot) !== plan) return;
    const { clock, now } = this.#options;
    const leftMs = plan.due - now();
    if (leftMs > 0) {
      plan.timer = clock.after(Math.min(leftMs, LOOK_MS), () => this.#wait(slot, plan));
      return;
    }
    plan.busy = true;
    this.#turn = this.#turn.then(() => this.#run(slot, plan));
  }

  async #run(slot: number, plan: Plan): Promise<void> {
    const { log, now, rotate } = this.#options;
    const stands = () => !this.#closed && this.#plans.get(slot) === plan;
    if (!stands()) return;
    let againMs: number | null = null;
    try {
      const record = await rotate(slot);
      if (record.outcome === 'unavailable') againMs = record.retryAfterMs ?? AGAIN_MS;
    } catch (error) {
      log.error('a scheduled rotation broke', { slot, error });
    }
    plan.busy = false;
    if (!stands()) return;
    const isTimeOfDay = plan.schedule.everyMinutes === undefined;
    if (againMs === null || (isTimeOfDay && againMs > MISSED_MS)) return this.#arm(slot, plan);
    if (isTimeOfDay) {
      // Not again at tomorrow's time and today's at once.
      const next = nextRotationAt(plan.schedule, { nowMs: now(), lastMs: 0, random: () => 0 });
      if (now() + againMs >= next) return this.#arm(slot, plan);
    }
    plan.due = now() + againMs;
    this.#wait(slot, plan);
  }
}
