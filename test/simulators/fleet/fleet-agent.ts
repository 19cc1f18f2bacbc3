/**
 * One simulated agent, true to the protocol: challenge, signature, hello, batches of consecutive sequences from a spool
 * that forgets only what was acknowledged, pings, reports, back-off with jitter. Its spool is two numbers, since its
 * records can be computed (identity.ts). When it dials again is the real agent's own rule (link-policy.ts). With knobs for
 * what real ones suffer: doubled and overtaken batches, slow links, wrong clocks, lies. The real agent has its own tests;
 * this one must be cheap enough to have ten thousand, hence lean-link.ts.
 */
import { createHash, type KeyObject, sign } from 'node:crypto';
import { type LinkEnd, nextDial, retryAfterOf } from '@mastline/agent/control-plane/link-policy';
import { Backoff } from '@mastline/shared/base/backoff';
import { decodeDownlink, encodeUplink } from '@mastline/shared/wire/codec';
import type { Downlink } from '@mastline/shared/wire/downlink';
import { linkAuthorization, linkProof } from '@mastline/shared/wire/enrolment';
import {
  MAX_BATCH_RECORDS,
  MAX_BATCHES_IN_FLIGHT,
  PING_INTERVAL_MS,
  SILENCE_LIMIT_MS,
} from '@mastline/shared/wire/limits';
import type { UplinkBody, UplinkKind } from '@mastline/shared/wire/uplink';
import { deviceKeyOf, epochOf, type FleetShape, imeiOf, nodeIdOf, recordOf } from './identity';
import { type HttpAnswer, LeanLink, type Place, postJson } from './lean-link';

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
const REQUEST_DEADLINE_MS = 15_000;
const GREETING_DEADLINE_MS = 20_000;
const ACK_DEADLINE_MS = 15_000;
const SLOW_MS = 2_000;
const MAX_SKEW_MS = 2 * 86_400_000;

export interface Traits {
  isSlow: boolean;
  isOld: boolean;
  isLiar: boolean;
  isSkewed: boolean;
  duplicates: number;
  reorder: number;
}

export interface FleetEvents {
  welcomed(agent: FleetAgent, secondsDown: number | undefined): void;
  lost(agent: FleetAgent): void;
  acknowledged(records: number): void;
  refused(code: string): void;
  bytes(up: number, down: number): void;
}

export class FleetAgent {
  readonly index: number;
  readonly #shape: FleetShape;
  readonly #traits: Traits;
  readonly #events: FleetEvents;
  readonly #random: () => number;
  readonly #place: Place;
  readonly #nodeId: string;
  readonly #epoch: string;
  readonly #backoff: Backoff;
  readonly #skewMs: number;
  #key: KeyObject | undefined;
  #link: LeanLink | undefined;
  #isUp = false;
  #isAway = false;
  #stopped = false;
  #wait: NodeJS.Timeout | undefined;
  /** Ends a link that is not welcomed in time. */
  #greeting: NodeJS.Timeout | undefined;
  #lostAtMs: number | undefined;
  #lastHeardMs = 0;
  #sentAtMs = 0;
  #pingAtMs = 0;
  #liveMs = 0;
  #liveAtMs = 0;
  #running: UplinkBody<'hello'>['running'] = { revision: 0, hash: null };
  /** Sequences 1..committed exist; 1..acknowledged are forgotten; 1..sent are on their way. */
  committed = 0;
  acknowledged = 0;
  #sent = 0;

  constructor(options: {
    index: number;
    shape: FleetShape;
    traits: Traits;
    events: FleetEvents;
    random: () => number;
    place: Place;
  }) {
    this.index = options.index;
    this.#shape = options.shape;
    this.#traits = options.traits;
    this.#events = options.events;
    this.#random = options.random;
    this.#place = options.place;
    this.#nodeId = nodeIdOf(options.shape.seed, options.index);
    this.#epoch = epochOf(options.shape.seed, options.index);
    this.#backoff = new Backoff({ firstMs: FIRST_WAIT_MS, maxMs: LONGEST_WAIT_MS, random: options.random });
    this.#skewMs = options.traits.isSkewed ? Math.round((options.random() * 2 - 1) * MAX_SKEW_MS) : 0;
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  start(): void {
    this.#dial();
  }

  /** One record of each modem into the spool, and on its way when there is a link. */
  commit(): void {
    this.committed += this.#shape.modems;
    this.#pump();
  }

  /** Drops the link as a modem does: without a word. Dials again after its back-off. */
  drop(): void {
    this.#link?.terminate();
  }

  /** Away: no link until `comeBack`. Commits go on. */
  goAway(): void {
    this.#isAway = true;
    clearTimeout(this.#wait);
    this.#link?.terminate();
  }

  comeBack(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#lostAtMs = undefined;
    this.#dialAfter(this.#random() * 5_000);
  }

  /** Called every few seconds, in place of timers of its own: pings, live figures, batches that were never answered. */
  sweep(now: number): void {
    if (!this.#isUp) return;
    if (now - this.#lastHeardMs > SILENCE_LIMIT_MS) return void this.#link?.terminate();
    if (now >= this.#pingAtMs) {
      this.#pingAtMs += PING_INTERVAL_MS;
      this.#send('ping', { at: Date.now() + this.#skewMs });
    }
    if (this.#sent > this.acknowledged && now - this.#sentAtMs > ACK_DEADLINE_MS) {
      this.#sent = this.acknowledged;
      this.#pump();
    }
    this.#tellFigures(now);
  }

  #tellFigures(now: number): void {
    if (this.#liveMs === 0 || now - this.#liveAtMs < this.#liveMs) return;
    this.#liveAtMs = now;
    this.#send('live-report', {
      at: Date.now() + this.#skewMs,
      slots: Array.from({ length: this.#shape.modems }, (_, slot) => ({
        slot,
        upBytesPerSecond: Math.floor(this.#random() * 1e5),
        downBytesPerSecond: Math.floor(this.#random() * 1e6),
        openFlows: Math.floor(this.#random() * 40),
      })),
    });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#wait);
    this.#link?.terminate();
  }

  #dialAfter(ms: number): void {
    if (this.#stopped || this.#isAway) return;
    clearTimeout(this.#wait);
    this.#wait = setTimeout(() => this.#dial(), ms);
  }

  /** By the rules of the real agent. */
  #ended(end: LinkEnd): void {
    this.#link = undefined;
    if (this.#isUp) {
      this.#isUp = false;
      this.#lostAtMs = performance.now();
      this.#events.lost(this);
    }
    const next = nextDial(end, {
      backoffMs: () => this.#backoff.nextMs(),
      longestMs: LONGEST_WAIT_MS,
      random: this.#random,
    });
    if (next.is === 'dial') this.#dialAfter(next.afterMs);
    else this.#stopped = true;
  }

  #refused(answer: HttpAnswer): void {
    const code = (safeJson(answer.body) as { code?: string }).code ?? `http/${answer.status}`;
    this.#events.refused(code);
    const retryAfterMs = retryAfterOf(answer.retryAfter);
    this.#ended({ why: 'refused', status: answer.status, code, detail: '', retryAfterMs });
  }

  #dial(): void {
    const body = JSON.stringify({ nodeId: this.#nodeId });
    postJson(this.#place, { path: '/agent/challenge', body, deadlineMs: REQUEST_DEADLINE_MS }).then(
      answer => {
        if (this.#stopped || this.#isAway) return;
        const { nonce } = safeJson(answer.body) as { nonce?: string };
        if (answer.status === 200 && nonce !== undefined) this.#open(nonce);
        else this.#refused(answer);
      },
      error => this.#ended({ why: 'unreachable', detail: String(error) }),
    );
  }

  #open(nonce: string): void {
    this.#key ??= deviceKeyOf(this.#shape.seed, this.index);
    const proof = sign(null, linkProof(this.#nodeId, nonce), this.#key);
    let end: LinkEnd | undefined;
    let refusal: HttpAnswer | undefined;
    const link = new LeanLink(this.#place, linkAuthorization(this.#nodeId, nonce, proof), {
      opened: () => this.#hello(),
      text: text => {
        this.#events.bytes(0, text.length);
        const read = () => {
          if (this.#link !== link) return;
          const afterMs = this.#read(text);
          if (afterMs === undefined) return;
          end = { why: 'moving', afterMs };
          link.close(1000);
        };
        if (this.#traits.isSlow) setTimeout(read, this.#random() * SLOW_MS);
        else read();
      },
      refused: answer => {
        refusal = answer;
      },
      ended: (code, detail) => {
        if (this.#greeting !== undefined) clearTimeout(this.#greeting);
        if (refusal !== undefined) this.#refused(refusal);
        else if (end !== undefined) this.#ended(end);
        else if (code === 1006 && !this.#isUp) this.#ended({ why: 'unreachable', detail });
        else this.#ended({ why: 'closed', code, detail });
      },
    });
    this.#link = link;
    this.#greeting = setTimeout(() => link.terminate(), GREETING_DEADLINE_MS);
  }

  #hello(): void {
    this.#sent = this.acknowledged;
    this.#transmit('hello', {
      agentVersion: '0.1.0',
      bootId: `boot ${this.index}`,
      now: Date.now() + this.#skewMs,
      epoch: this.#epoch,
      lastSequence: this.committed,
      running: this.#running,
      ...(this.#traits.isOld ? {} : { metered: false, pingIntervalMs: PING_INTERVAL_MS, takes: [] }),
    });
  }

  /** Milliseconds after which the cloud asks to come back, when it does. */
  #read(text: string): number | undefined {
    const decoded = decodeDownlink(text);
    if (decoded.is === 'refused') throw new Error(`the cloud sent what is not a message: ${decoded.code}`);
    this.#lastHeardMs = performance.now();
    if (decoded.is === 'unknown') return undefined;
    return this.#take(decoded.message);
  }

  #take(message: Downlink): number | undefined {
    switch (message.kind) {
      case 'welcome': {
        clearTimeout(this.#greeting);
        this.#greeting = undefined;
        this.#isUp = true;
        this.#backoff.reset();
        this.#pingAtMs = this.#lastHeardMs + PING_INTERVAL_MS;
        this.#liveMs = message.body.liveReportMs;
        const since = this.#lostAtMs;
        this.#events.welcomed(this, since === undefined ? undefined : (performance.now() - since) / 1000);
        this.#acknowledge(message.body.mark);
        this.#sent = this.acknowledged;
        this.#report();
        this.#pump();
        return undefined;
      }
      case 'usage-ack':
        this.#acknowledge(message.body.mark);
        this.#pump();
        return undefined;
      case 'usage-refused':
        this.#events.refused(message.body.code);
        this.#sent = Math.max(this.acknowledged, message.body.expected - 1);
        this.#pump();
        return undefined;
      case 'desired-state': {
        const hash = createHash('sha256').update(message.body.payload).digest('hex');
        if (hash !== message.body.hash) throw new Error('a desired state with another hash');
        this.#running = { revision: message.body.revision, hash };
        this.#send('state-report', {
          revision: message.body.revision,
          outcome: 'applied',
          problems: [],
          running: this.#running,
        });
        return undefined;
      }
      case 'move-away':
        return message.body.afterMs;
      default:
        return undefined;
    }
  }

  #acknowledge(mark: number): void {
    if (mark > this.committed)
      throw new Error(`node ${this.index}: mark ${mark} of ${this.committed} records`);
    if (mark <= this.acknowledged) return;
    this.#events.acknowledged(mark - this.acknowledged);
    this.acknowledged = mark;
  }

  #report(): void {
    this.#send('modem-report', {
      at: Date.now() + this.#skewMs,
      slots: Array.from({ length: this.#shape.modems }, (_, slot) => ({
        slot,
        usbPath: `1-1.${slot + 1}`,
        interface: `wwan${slot}`,
        sourceAddress: `192.168.${8 + slot}.100`,
        state: 'connected' as const,
        reason: '',
        exitAddress: `198.51.${this.index % 256}.${slot + 1}`,
        imei: imeiOf(this.index, slot),
        model: 'E3372h-320',
        firmware: '10.0.3.1',
        virtual: true,
      })),
    });
  }

  #pump(): void {
    if (!this.#isUp) return;
    // A batch that overtakes the one before it: the cloud must refuse the gap and be sent both again.
    if (
      this.#traits.reorder > 0 &&
      this.#random() < this.#traits.reorder &&
      this.committed - this.#sent > 1
    ) {
      this.#batch(this.#sent + 2, this.committed);
      this.#sent = this.committed;
      return;
    }
    let flying = Math.ceil((this.#sent - this.acknowledged) / MAX_BATCH_RECORDS);
    while (this.#sent < this.committed && flying < MAX_BATCHES_IN_FLIGHT) {
      const to = Math.min(this.committed, this.#sent + MAX_BATCH_RECORDS);
      this.#batch(this.#sent + 1, to);
      if (this.#random() < this.#traits.duplicates) this.#batch(this.#sent + 1, to);
      this.#sent = to;
      flying += 1;
    }
  }

  #batch(from: number, to: number): void {
    const records = [];
    for (let sequence = from; sequence <= Math.min(to, from + MAX_BATCH_RECORDS - 1); sequence += 1)
      records.push(
        recordOf(this.#shape, {
          index: this.index,
          sequence,
          skewMs: this.#skewMs,
          isLiar: this.#traits.isLiar,
        }),
      );
    this.#sentAtMs = performance.now();
    this.#send('usage-batch', { epoch: this.#epoch, records });
  }

  #send<K extends UplinkKind>(kind: K, body: UplinkBody<K>): void {
    if (!this.#isUp) return;
    if (this.#traits.isSlow) setTimeout(() => this.#transmit(kind, body), this.#random() * SLOW_MS);
    else this.#transmit(kind, body);
  }

  #transmit<K extends UplinkKind>(kind: K, body: UplinkBody<K>): void {
    if (this.#link === undefined) return;
    const text = encodeUplink(kind, body);
    this.#events.bytes(text.length, 0);
    this.#link.send(text);
  }
}

/** What a proxy or a dying server answers is not always JSON. */
function safeJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return {};
  }
}
