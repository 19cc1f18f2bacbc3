import type { LinkSession } from '@mastline/agent/control-plane/link-session';
import { UplinkSync } from '@mastline/agent/control-plane/uplink-sync';
import { createLog, type Log, type LogFields } from '@mastline/agent/observe/log';
import { type BeginTrace, beginTrace } from '@mastline/agent/observe/trace-parent';
import type { NodeSpool } from '@mastline/agent/spool/usage-spool';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { BATCH_FAULTS, BatchDesk, type BatchFault, FakeLedger } from '../../simulators/fake-ledger';
import { type FakeClock, fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { delta, openSpool, totals } from '../spool/open-spool';

const test = suite('usage from spool to ledger');
const NODE = 'n1';

/** A spool, an uplink and a ledger, joined by a line that can break; time is ours. */
class Rig {
  readonly clock: FakeClock = fakeClock();
  readonly ledger = new FakeLedger();
  readonly lines: LogFields[] = [];
  readonly sent: number[][] = [];
  faults: BatchFault[] = [];
  committed = { up: 0, down: 0, flows: 0 };
  spool!: NodeSpool;
  sync!: UplinkSync;
  gaveUp: string[] = [];
  trace: BeginTrace | undefined;
  /** What the batches said of a trace. */
  traces: (string | undefined)[] = [];
  readonly #folder: string;
  readonly #desk = new BatchDesk(this.ledger, NODE, () => this.faults.shift() ?? 'store');
  #session: LinkSession | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async open(): Promise<void> {
    ({ spool: this.spool } = await openSpool(this.#folder, () => this.clock.now()));
    const log: Log = createLog({ level: 'debug', write: line => void this.lines.push(JSON.parse(line)) });
    const beginTrace = this.trace;
    this.sync = new UplinkSync({ spool: this.spool, clock: this.clock, random: () => 0.5, log, beginTrace });
  }

  async connect(): Promise<void> {
    const position = await this.spool.position();
    const session: LinkSession = {
      queuedBytes: () => 0,
      send: (kind, body) => {
        if (this.#session !== session) return 'closed';
        const batch = body as Parameters<BatchDesk['take']>[0] & { trace?: string };
        this.traces.push(batch.trace);
        assert.is(kind, 'usage-batch');
        this.sent.push(batch.records.map(({ sequence }) => sequence));
        const alive = (act: () => void) => setImmediate(() => this.#session === session && act());
        setImmediate(() =>
          this.#desk.take(batch, {
            reply: message =>
              alive(() =>
                message.kind === 'usage-ack'
                  ? this.sync.acknowledged(message.body)
                  : this.sync.refused(message.body),
              ),
            cut: () => alive(() => this.disconnect()),
          }),
        );
        return 'sent';
      },
      giveUp: (_code, detail) => {
        this.gaveUp.push(detail);
        this.disconnect();
      },
    };
    this.#session = session;
    this.sync.begin(session, position, this.ledger.mark(NODE, position.epoch));
  }

  disconnect(): void {
    this.#session = undefined;
    this.sync.end();
  }

  async commit(count: number): Promise<void> {
    const deltas = Array.from({ length: count }, (_, slot) => delta({ slot, upBytes: slot + 1 }));
    await this.spool.commit(deltas);
    for (const { upBytes, downBytes, flows } of deltas) {
      this.committed.up += upBytes;
      this.committed.down += downBytes;
      this.committed.flows += flows;
    }
  }

  /** Lets `ms` pass and everything in between the spool's thread and the line come to rest. */
  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
    for (let turn = 0; turn < 8; turn += 1) {
      await this.spool.position();
      await new Promise<void>(resolve => setImmediate(resolve));
    }
  }

  /** A quiet line until everything has arrived. */
  async settle(): Promise<void> {
    this.faults = [];
    for (let turn = 0; turn < 60; turn += 1) {
      if (!this.#session) await this.connect();
      await this.pass(turn < 10 ? 600 : 16_000);
      const { length: open } = await this.spool.recordsAfter((await this.spool.position()).acknowledged, 1);
      if (open === 0) return;
    }
    throw new Error('the spool did not empty');
  }

  async crash(): Promise<void> {
    this.disconnect();
    await this.spool.close();
    await this.open();
  }
}

async function withRig(body: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = await tempDir('uplink');
  const rig = new Rig(folder.path);
  await rig.open();
  try {
    await body(rig);
  } finally {
    rig.disconnect();
    await rig.spool.close();
    await folder.remove();
  }
}

test('a batch begins a trace when it is asked to, under an id that is in the log', async () => {
  assert.is(beginTrace({}), undefined);
  assert.is(beginTrace({ MASTLINE_TRACE_RATIO: '0' }), undefined);
  assert.throws(() => beginTrace({ MASTLINE_TRACE_RATIO: 'often' }), /from 0 to 1/);
  assert.is(beginTrace({ MASTLINE_TRACE_RATIO: '0.1' }, () => 0.1)?.(), undefined);
  await withRig(async rig => {
    await rig.connect();
    await rig.commit(1);
    await rig.pass(1_000);
    rig.trace = beginTrace({ MASTLINE_TRACE_RATIO: '1' });
    await rig.crash();
    await rig.connect();
    await rig.commit(1);
    await rig.pass(1_000);
    assert.is(rig.traces[0], undefined);
    const [, traceId] = /^00-([0-9a-f]{32})-[0-9a-f]{16}-01$/.exec(rig.traces.at(-1) ?? '') ?? [];
    assert.ok(traceId);
    assert.ok(rig.lines.some(line => (line as { traceId?: string }).traceId === traceId));
  });
});

test('sends within a second of the commit and prunes what is acknowledged', () =>
  withRig(async rig => {
    await rig.connect();
    await rig.commit(3);
    await rig.pass(1_000);
    assert.equal(totals(rig.ledger.records()), rig.committed);
    await rig.pass(0);
    assert.is((await rig.spool.position()).acknowledged, 3);
  }));

test('sends again when an acknowledgement does not come, and the ledger counts once', () =>
  withRig(async rig => {
    rig.faults = ['lose-ack', 'lose-ack'];
    await rig.connect();
    await rig.commit(2);
    await rig.pass(600);
    await rig.pass(15_000);
    await rig.pass(15_000);
    assert.is((await rig.spool.position()).acknowledged, 2);
    assert.equal(totals(rig.ledger.records()), rig.committed);
    assert.ok(rig.ledger.duplicates > 0);
  }));

test('gives the link up when batches stay unanswered', () =>
  withRig(async rig => {
    rig.faults = Array.from({ length: 20 }, () => 'lose');
    await rig.connect();
    await rig.commit(1);
    for (let n = 0; n < 4; n += 1) await rig.pass(15_000);
    assert.match(rig.gaveUp.join(), /unanswered/);
  }));

test('fills a gap from where the cloud expects it', () =>
  withRig(async rig => {
    rig.faults = ['lose'];
    await rig.connect();
    await rig.commit(2);
    await rig.pass(600);
    await rig.commit(2);
    await rig.pass(600);
    await rig.settle();
    assert.ok(rig.ledger.gaps > 0, 'the second batch met a gap');
    assert.equal(totals(rig.ledger.records()), rig.committed);
  }));

test('keeps no more batches under way than agreed', () =>
  withRig(async rig => {
    rig.faults = Array.from({ length: 50 }, () => 'lose');
    await rig.connect();
    for (let n = 0; n < 8; n += 1) {
      await rig.commit(1);
      await rig.pass(600);
    }
    assert.is(rig.sent.length, 4);
  }));

test('begins a new epoch when the file is older than the ledger, and doubles nothing', () =>
  withRig(async rig => {
    await rig.connect();
    await rig.commit(2);
    await rig.settle();
    const { epoch } = await rig.spool.position();
    // What the ledger got from the file's future, before the image was restored.
    const future = [3, 4].map(sequence => ({ ...rig.ledger.records()[0]!, sequence }));
    rig.ledger.store(NODE, { epoch, records: future });
    const before = totals(rig.ledger.records());
    rig.disconnect();
    await rig.commit(2);
    const afterCommit = rig.committed;
    await rig.settle();
    assert.is.not((await rig.spool.position()).epoch, epoch);
    assert.is(totals(rig.ledger.records()).up, before.up + (afterCommit.up - 3));
    assert.ok(rig.lines.some(line => line.code === 'usage/new-epoch'));
  }));

test('goes on in a new epoch when the ledger was set back behind what it acknowledged', () =>
  withRig(async rig => {
    await rig.connect();
    await rig.commit(4);
    await rig.settle();
    const { epoch } = await rig.spool.position();
    rig.disconnect();
    rig.ledger.setBack(NODE, epoch, 1);
    const kept = totals(rig.ledger.records()).up;
    const before = rig.committed.up;
    await rig.commit(3);
    await rig.settle();
    assert.is.not((await rig.spool.position()).epoch, epoch);
    assert.is(totals(rig.ledger.records()).up, kept + rig.committed.up - before);
  }));

test('refuses an acknowledgement of what was never sent, and prunes nothing', () =>
  withRig(async rig => {
    rig.faults = ['lose', 'lose'];
    await rig.connect();
    await rig.commit(1);
    await rig.pass(600);
    const { epoch } = await rig.spool.position();
    rig.sync.acknowledged({ epoch, mark: 99 });
    await rig.pass(0);
    assert.match(rig.gaveUp.join(), /ack-ahead/);
    assert.is((await rig.spool.position()).acknowledged, 0);
    await rig.settle();
    assert.equal(totals(rig.ledger.records()), rig.committed);
  }));

test(
  'brings what was committed to the ledger exactly once, whatever the line and the agent do',
  async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ commit: fc.integer({ min: 1, max: 5 }) }) },
      { weight: 3, arbitrary: fc.record({ pass: fc.constantFrom(0, 100, 600, 16_000) }) },
      { weight: 1, arbitrary: fc.constant({ cut: true }) },
      { weight: 1, arbitrary: fc.constant({ crash: true }) },
    );
    const script = fc.record({
      faults: fc.array(fc.constantFrom(...BATCH_FAULTS), { maxLength: 20 }),
      steps: fc.array(step, { minLength: 3, maxLength: 16 }),
    });
    await fc.assert(
      fc.asyncProperty(script, ({ faults, steps }) =>
        withRig(async rig => {
          rig.faults = [...faults];
          await rig.connect();
          for (const step of steps) {
            if ('commit' in step) await rig.commit(step.commit);
            else if ('pass' in step) await rig.pass(step.pass);
            else if ('crash' in step) {
              await rig.crash();
              await rig.connect();
            } else {
              rig.disconnect();
              await rig.connect();
            }
          }
          await rig.settle();
          assert.equal(totals(rig.ledger.records()), rig.committed);
          const sequences = rig.ledger.records().map(({ sequence }) => sequence);
          assert.equal(
            sequences,
            sequences.map((_, index) => index + 1),
          );
        }),
      ),
      { numRuns: Number(process.env.MASTLINE_RUNS ?? 25) },
    );
  },
  { deadlineMs: 180_000 },
);

test.run();
