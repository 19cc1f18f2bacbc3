/**
 * The ledger's promise in a map: a batch is stored whole with its mark, what is at or below the mark is dropped, a
 * gap is refused. And a desk in front of it that loses, doubles, delays and cuts as a script says. No sockets here;
 * fake-cloud.ts puts them around it.
 */
import type { UsageRecord } from '@mastline/shared/domain/usage';
import type { DownlinkBody } from '@mastline/shared/wire/downlink';
import type { UplinkBody } from '@mastline/shared/wire/uplink';

export type UsageBatch = UplinkBody<'usage-batch'>;
export type BatchReply =
  | { kind: 'usage-ack'; body: DownlinkBody<'usage-ack'> }
  | { kind: 'usage-refused'; body: DownlinkBody<'usage-refused'> };

export class FakeLedger {
  readonly #marks = new Map<string, number>();
  readonly #records = new Map<string, UsageRecord>();
  /** Batches that came again, in whole or in part. */
  duplicates = 0;
  gaps = 0;

  mark(nodeId: string, epoch: string): number {
    return this.#marks.get(`${nodeId}/${epoch}`) ?? 0;
  }

  store(nodeId: string, { epoch, records }: UsageBatch): BatchReply {
    const name = `${nodeId}/${epoch}`;
    const mark = this.mark(nodeId, epoch);
    const fresh = records.filter(record => record.sequence > mark);
    if (fresh.length < records.length) this.duplicates += 1;
    const isGapless = fresh.every((record, index) => record.sequence === mark + 1 + index);
    if (!isGapless) {
      this.gaps += 1;
      return {
        kind: 'usage-refused',
        body: { epoch, expected: mark + 1, code: 'usage/gap', message: `expected ${mark + 1}` },
      };
    }
    for (const record of fresh) this.#records.set(`${name}/${record.sequence}`, record);
    this.#marks.set(name, mark + fresh.length);
    return { kind: 'usage-ack', body: { epoch, mark: mark + fresh.length } };
  }

  /** As if restored from a backup taken when the mark was `mark`. */
  setBack(nodeId: string, epoch: string, mark: number): void {
    const name = `${nodeId}/${epoch}`;
    for (let sequence = mark + 1; sequence <= this.mark(nodeId, epoch); sequence += 1)
      this.#records.delete(`${name}/${sequence}`);
    this.#marks.set(name, mark);
  }

  records(): UsageRecord[] {
    return [...this.#records.values()];
  }
}

/** What happens to one batch. `hold` keeps it until the next one has been dealt with: reordering. */
export type BatchFault =
  | 'store'
  | 'lose'
  | 'lose-ack'
  | 'double-ack'
  | 'twice'
  | 'hold'
  | 'refuse'
  | 'old-ack'
  | 'cut-before'
  | 'cut-after';
export const BATCH_FAULTS: readonly BatchFault[] = [
  'store',
  'lose',
  'lose-ack',
  'double-ack',
  'twice',
  'hold',
  'refuse',
  'old-ack',
  'cut-before',
  'cut-after',
];

export interface DeskLine {
  reply(message: BatchReply): void;
  /** Breaks the connection. */
  cut(): void;
}

/** Takes batches of one node to the ledger; `nextFault` says what goes wrong with each. */
export class BatchDesk {
  readonly #ledger: FakeLedger;
  readonly #nodeId: string;
  readonly #nextFault: () => BatchFault;
  #held: { batch: UsageBatch; line: DeskLine } | undefined;

  constructor(ledger: FakeLedger, nodeId: string, nextFault: () => BatchFault) {
    this.#ledger = ledger;
    this.#nodeId = nodeId;
    this.#nextFault = nextFault;
  }

  take(batch: UsageBatch, line: DeskLine): void {
    const fault = this.#nextFault();
    if (fault === 'hold' && !this.#held) {
      this.#held = { batch, line };
      return;
    }
    this.#perform(fault, batch, line);
    const held = this.#held;
    this.#held = undefined;
    if (held) held.line.reply(this.#ledger.store(this.#nodeId, held.batch));
  }

  #perform(fault: BatchFault, batch: UsageBatch, line: DeskLine): void {
    const store = () => this.#ledger.store(this.#nodeId, batch);
    switch (fault) {
      case 'store':
      case 'hold':
        line.reply(store());
        return;
      case 'lose':
        return;
      case 'lose-ack':
        store();
        return;
      case 'double-ack': {
        const reply = store();
        line.reply(reply);
        line.reply(reply);
        return;
      }
      case 'twice':
        line.reply(store());
        line.reply(store());
        return;
      case 'refuse': {
        const expected = this.#ledger.mark(this.#nodeId, batch.epoch) + 1;
        line.reply({
          kind: 'usage-refused',
          body: { epoch: batch.epoch, expected, code: 'usage/again', message: 'not now' },
        });
        return;
      }
      case 'old-ack': {
        store();
        line.reply({ kind: 'usage-ack', body: { epoch: batch.epoch, mark: 0 } });
        return;
      }
      case 'cut-before':
        line.cut();
        return;
      case 'cut-after':
        store();
        line.cut();
        return;
    }
  }
}
