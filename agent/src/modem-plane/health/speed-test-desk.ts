/** Whether a slot's speed may be measured now: one at a time on a node. The measuring is speed-test.ts. */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { SlotReport } from '@mastline/shared/domain/modem';
import type { CountOwn, Egress } from '../../ports';
import { type SpeedTestResult, type SpeedTestUrls, speedTest } from './speed-test';

export interface SpeedTestDeskOptions {
  urls: SpeedTestUrls | undefined;
  clock: Clock;
  /** Aborted when the agent stops. */
  signal: AbortSignal;
  slot: (slot: number) => { egress: Egress; report: SlotReport } | undefined;
  /** Told what the test moves through a slot. */
  counter: (slot: number) => CountOwn;
}

export class SpeedTestDesk {
  readonly #options: SpeedTestDeskOptions;
  #isBusy = false;

  constructor(options: SpeedTestDeskOptions) {
    this.#options = options;
  }

  /** For at most so much of the SIM's data. Rejects with `speedtest/…` when it cannot be done. */
  async measure(slot: number, maxBytes: number): Promise<SpeedTestResult> {
    const { urls, clock, signal, counter } = this.#options;
    if (urls === undefined)
      throw refusal(
        'no-servers',
        'the configuration of the agent names no "speedTest": set "downUrl" to an address that gives {bytes} bytes',
      );
    const found = this.#options.slot(slot);
    if (!found) throw refusal('no-slot', `there is no slot ${slot} on this node`);
    const { egress, report } = found;
    if (!egress.ready || egress.sourceAddress === null)
      throw refusal(
        'not-ready',
        `slot ${slot} is ${report.state}${report.reason ? `: ${report.reason}` : ''}`,
      );
    // Two at once would measure each other.
    if (this.#isBusy) throw refusal('busy', 'a speed test is under way on this node; try again in a minute');
    this.#isBusy = true;
    try {
      const { sourceAddress: localAddress, dnsServers } = egress;
      return await speedTest({
        ...urls,
        maxBytes,
        localAddress,
        dnsServers,
        clock,
        signal,
        count: counter(slot),
      });
    } finally {
      this.#isBusy = false;
    }
  }
}

function refusal(code: string, sentence: string): CodedError {
  return new CodedError(`speedtest/${code}`, sentence);
}
