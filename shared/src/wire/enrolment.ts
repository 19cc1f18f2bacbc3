/**
 * The three HTTP exchanges that come before a link: claiming a node, asking for a nonce, and the header that
 * answers it at the WebSocket upgrade. All bodies are JSON.
 *
 *   POST /agent/enrol      EnrolRequest      → EnrolReply         once in a node's life, with a one-time claim code
 *   POST /agent/challenge  ChallengeRequest  → ChallengeReply     before each connection
 *   GET  /agent (upgrade)  Authorization: Mastline node="<id>", nonce="<nonce>", signature="<base64>"
 *
 * The signature is Ed25519 over the UTF-8 bytes of `mastline-link\n<nodeId>\n<nonce>` with the device key.
 */
import { z } from 'zod';

/** Text that a host agrees to; bump when it changes, so that consent can be shown for the version agreed to. */
export const CONSENT_TEXT_VERSION = '2026-11-23';

export const EnrolRequest = z.looseObject({
  claimCode: z.string().min(8).max(64),
  /** Raw Ed25519 public key, 32 bytes, base64. */
  publicKey: z.base64().length(44),
  agentVersion: z.string().max(40),
  hostname: z.string().max(253),
  consent: z.looseObject({
    textVersion: z.string().max(40),
    acceptedBy: z.string().min(1).max(200),
  }),
});
export type EnrolRequest = z.infer<typeof EnrolRequest>;

export const EnrolReply = z.looseObject({
  nodeId: z.string().min(1).max(64),
  /** Keys whose signatures on desired states this node shall trust: pinned here. */
  stateKeys: z
    .array(
      z.looseObject({
        keyId: z.string().max(64),
        publicKey: z.base64().length(44),
      }),
    )
    .min(1),
});
export type EnrolReply = z.infer<typeof EnrolReply>;

export const ChallengeRequest = z.looseObject({
  nodeId: z.string().min(1).max(64),
});
export const ChallengeReply = z.looseObject({
  nonce: z.string().min(16).max(200),
});

/** Every refusal of these three, with its HTTP status in `status`. */
export const WireRefusal = z.looseObject({
  code: z.string().max(64),
  message: z.string().max(500),
});
export type WireRefusal = z.infer<typeof WireRefusal>;

/** Codes of refusals that an agent acts on; any other is shown to people as it came. */
export const REFUSAL = {
  /** No such claim code (404). */
  claimUnknown: 'enrol/claim-unknown',
  /** Claimed before, with another device key (409). The same key and code are answered again as the first time. */
  claimUsed: 'enrol/claim-used',
  claimExpired: 'enrol/claim-expired',
  /** The cloud does not know the node (404): its database is another one. Dialled again, seldom. */
  nodeUnknown: 'link/node-unknown',
  /** The node was retired (410): it stops dialling. */
  nodeRetired: 'link/node-retired',
} as const;

/** The bytes a device key signs to open a link. */
export function linkProof(nodeId: string, nonce: string): Buffer {
  return Buffer.from(`mastline-link\n${nodeId}\n${nonce}`, 'utf8');
}

/** Builds the upgrade's Authorization header. */
export function linkAuthorization(nodeId: string, nonce: string, signature: Buffer): string {
  return `Mastline node="${nodeId}", nonce="${nonce}", signature="${signature.toString('base64')}"`;
}

/** Reads that header back; undefined when it is missing or malformed. */
export function parseLinkAuthorization(
  header: string | undefined,
): { nodeId: string; nonce: string; signature: Buffer } | undefined {
  const match =
    /^Mastline node="([\w-]{1,64})", nonce="([\w.~-]{16,200})", signature="([A-Za-z0-9+/]{86}==)"$/.exec(
      header ?? '',
    );
  if (!match) return undefined;
  const [, nodeId, nonce, signature] = match;
  if (nodeId === undefined || nonce === undefined || signature === undefined) return undefined;
  return { nodeId, nonce, signature: Buffer.from(signature, 'base64') };
}
