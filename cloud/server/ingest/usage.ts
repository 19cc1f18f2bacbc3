/** A usage batch from the link: into the ledger, then the answer. The answer goes out after the commit, never before. */
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { MAX_BATCH_RECORDS } from '@mastline/shared/wire/limits';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import { noteInSpan } from '../observe/spans';
import type { Services } from '../rpc/context';
import type { AgentLink } from './link';

export async function ingestUsage(
  services: Services,
  session: AgentLink,
  body: UplinkBody<'usage-batch'>,
): Promise<void> {
  const { nodeId, organizationId } = session.node;
  const { tallies } = services;
  const batch = {
    nodeId,
    hostOrganizationId: organizationId,
    epoch: body.epoch,
    records: body.records,
  };
  const outcome = await services.usage.write(batch);
  // A full batch is followed by more: by how much, the node does not know itself before it reads on.
  services.watch.answered(batch, body.records.length < MAX_BATCH_RECORDS ? 0 : 1, outcome);
  switch (outcome.is) {
    case 'stored':
      if (outcome.unattributed > 0)
        services.log.warn(
          { nodeId, sessionId: session.sessionId, records: outcome.unattributed },
          'usage without an owner kept with the host',
        );
      session.send('usage-ack', { epoch: body.epoch, mark: outcome.mark });
      noteInSpan('acknowledged', { 'mastline.mark': outcome.mark });
      tallies.batches.note(services.clock.monotonicMs() - session.arrivedMs);
      tallies.records.add('stored', outcome.stored);
      tallies.records.add('duplicate', outcome.duplicates);
      tallies.records.add('unattributed', outcome.unattributed);
      if (outcome.stored > 0) services.presence.changed();
      return;
    case 'gap':
      tallies.refusals.add('ledger/gap');
      session.send('usage-refused', {
        epoch: body.epoch,
        expected: outcome.expected,
        code: 'ledger/gap',
        message: `records from ${outcome.expected} on are missing: send from there`,
      });
      return;
    case 'refused':
      tallies.refusals.add(outcome.code);
      services.log.error({ nodeId, sessionId: session.sessionId, code: outcome.code }, outcome.message);
      session.close(CLOSE.protocol, `${outcome.code}: ${outcome.message}`);
      return;
    default:
      outcome satisfies never;
  }
}
