/**
 * An agent's hello: what it runs is written down, its mark told, its newest desired state sent when it lacks it. After
 * a restart of the cloud every node says hello within a minute: when nothing has changed meanwhile this is a share of
 * one statement for many nodes, and neither compiled anew for sending, nor signed, nor sent.
 */
import { PING_INTERVAL_MS, SILENCE_LIMIT_MS, silenceLimitOf } from '@mastline/shared/wire/limits';
import type { UplinkBody, UplinkKind } from '@mastline/shared/wire/uplink';
import type { AgentLink } from './link';
import type { IngestServices } from './services';

/** How often nodes send live figures, milliseconds, while they are few; the more there are, the more seldom. */
const MIN_LIVE_REPORT_MS = 1_000;
const MAX_LIVE_REPORT_MS = 30_000;
/** Live reports that one process takes in a second: a few hundredths of a core, whoever looks. */
const LIVE_REPORTS_PER_SECOND = 400;

/** Kinds beyond those of the protocol's first day that this cloud takes. */
const TAKEN: UplinkKind[] = ['rotation-report', 'quota-report', 'reconcile-report', 'event-batch'];

/** Time between live reports of one node when there are `nodes` of them. Pure. */
export function liveReportMs(nodes: number): number {
  const fair = Math.ceil(nodes / LIVE_REPORTS_PER_SECOND) * 1_000;
  return Math.min(MAX_LIVE_REPORT_MS, Math.max(MIN_LIVE_REPORT_MS, fair));
}

export async function greet(
  services: IngestServices,
  session: AgentLink,
  hello: UplinkBody<'hello'>,
): Promise<void> {
  const { node } = session;
  const facts = await services.readGreetingFacts(node, hello);
  if (hello.lastSequence < facts.mark)
    services.log.error(
      {
        nodeId: node.nodeId,
        sessionId: session.sessionId,
        mark: facts.mark,
        lastSequence: hello.lastSequence,
        epoch: hello.epoch,
      },
      'the spool is older than the ledger: it was restored or copied, and must begin a new epoch',
    );
  services.watch.greeted(node, { epoch: hello.epoch, lastSequence: hello.lastSequence, mark: facts.mark });
  const silenceLimitMs = silenceLimitOf(hello.pingIntervalMs ?? PING_INTERVAL_MS);
  session.bearSilence(Math.max(silenceLimitMs, SILENCE_LIMIT_MS));
  const liveMs = hello.metered === true ? 0 : liveReportMs(services.presence.expected);
  session.noteTaken(hello.takes ?? []);
  services.presence.reportsEvery(node.nodeId, liveMs);
  session.send('welcome', {
    now: services.clock.now(),
    mark: facts.mark,
    liveReportMs: liveMs,
    silenceLimitMs: Math.max(silenceLimitMs, SILENCE_LIMIT_MS),
    takes: TAKEN,
  });
  if (facts.current !== undefined && facts.current.hash === hello.running.hash) return;
  const state = await services.newestState(node.nodeId);
  if (state.hash !== hello.running.hash) session.send('desired-state', state);
}
