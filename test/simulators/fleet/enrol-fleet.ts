/**
 * Puts a fleet into a database as it is after enrolment: hosts, customers, nodes with their device keys and consent,
 * an endpoint each, credentials. In bulk: ten thousand claims by HTTP would measure something else.
 */
import { createHash, createPublicKey } from 'node:crypto';
import type { Database } from '@mastline/cloud/server/db/database';
import { rawPublicKey } from '@mastline/cloud/server/rollout/signing';
import { CONSENT_TEXT_VERSION } from '@mastline/shared/wire/enrolment';
import {
  CREDENTIALS_PER_CUSTOMER,
  credentialIdOf,
  customerOf,
  deviceKeyOf,
  endpointIdOf,
  hostOf,
  NODES_PER_CUSTOMER,
  NODES_PER_HOST,
  nodeIdOf,
} from './identity';

const CHUNK = 1_000;

export async function enrolFleet(
  db: Pick<Database, 'prisma'>,
  of: { seed: number; nodes: number; at: Date },
): Promise<void> {
  const { seed, nodes, at } = of;
  const { prisma } = db;
  const every = (step: number) => Array.from({ length: Math.ceil(nodes / step) }, (_, place) => place * step);
  await prisma.organization.createMany({
    data: [
      ...every(NODES_PER_HOST).map(index => ({
        id: hostOf(seed, index),
        name: `Host ${index}`,
        kinds: ['host'],
      })),
      ...every(NODES_PER_CUSTOMER).map(index => ({
        id: customerOf(seed, index),
        name: `Customer ${index}`,
        kinds: ['customer'],
      })),
    ],
  });
  await prisma.credential.createMany({
    data: every(NODES_PER_CUSTOMER).flatMap(index =>
      Array.from({ length: CREDENTIALS_PER_CUSTOMER }, (_, which) => {
        const id = credentialIdOf(seed, index, which);
        return {
          id,
          organizationId: customerOf(seed, index),
          name: `Credential ${which}`,
          username: `user-${id.slice(0, 13)}`,
          secretSealed: 'sealed by nobody: this fleet serves no customers',
          verifier: createHash('sha256').update(id).digest('hex'),
          createdAt: at,
        };
      }),
    ),
  });
  for (let from = 0; from < nodes; from += CHUNK) {
    const indexes = Array.from({ length: Math.min(CHUNK, nodes - from) }, (_, i) => from + i);
    await prisma.node.createMany({
      data: indexes.map(index => ({
        id: nodeIdOf(seed, index),
        organizationId: hostOf(seed, index),
        name: `Box ${index}`,
        hostname: `box-${index}`,
        publicKey: new Uint8Array(rawPublicKey(createPublicKey(deviceKeyOf(seed, index)))),
        agentVersion: '0.1.0',
        enrolledAt: at,
        lastSeenAt: at,
        consentTextVersion: CONSENT_TEXT_VERSION,
        consentAcceptedBy: 'the simulated fleet',
        consentAt: at,
      })),
    });
    await prisma.endpoint.createMany({
      data: indexes.map(index => ({
        id: endpointIdOf(seed, index),
        organizationId: customerOf(seed, index),
        nodeId: nodeIdOf(seed, index),
        name: `Endpoint ${index}`,
        protocols: ['socks5'],
        reach: 'direct',
        host: '127.0.0.1',
        port: 1080,
        slotNumbers: [0, 1, 2, 3],
        createdAt: at,
      })),
    });
  }
}
