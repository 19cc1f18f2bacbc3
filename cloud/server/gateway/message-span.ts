/** One message of an agent as a span: from the arrival of its frame over its wait and its decoding to what is done with it. */
import type { Uplink } from '@mastline/shared/wire/uplink';
import { contextOfNode, inSpan, isTracing, pastSpan } from '../observe/spans';

/** Instants of the monotonic clock, milliseconds. */
export interface MessageTimes {
  arrivedMs: number;
  /** Its turn came. */
  begunMs: number;
  decodedMs: number;
}

/** Runs `work`; within a span of the trace that the node began, or of one of our own, when traces are collected. */
export async function inMessageSpan(
  of: { nodeId: string; sessionId: string; message: Uplink; now: number; times: MessageTimes },
  work: () => Promise<void>,
): Promise<void> {
  if (!isTracing()) return work();
  const { nodeId, sessionId, message, times } = of;
  const attributes: Record<string, string | number> = {
    'mastline.node': nodeId,
    'mastline.session': sessionId,
  };
  let traceparent: string | undefined;
  if (message.kind === 'usage-batch') {
    const { epoch, records, trace } = message.body;
    traceparent = trace;
    attributes['mastline.epoch'] = epoch;
    attributes['mastline.records'] = records.length;
    attributes['mastline.first_sequence'] = records[0]?.sequence ?? 0;
  }
  await inSpan(
    `link ${message.kind}`,
    { kind: 'in', attributes, startMs: times.arrivedMs, parent: contextOfNode(traceparent, of.now) },
    async () => {
      pastSpan('link wait', times.arrivedMs, times.begunMs);
      pastSpan('link decode', times.begunMs, times.decodedMs);
      await work();
    },
  );
}
