/** The keys that sign desired states. Made at the first start, sealed at rest; nodes pin the public parts at enrolment. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import type { Database } from '../db/database';
import type { SecretStore } from '../secrets/secret-store';

/** Of our choosing: two processes that start at once on one database make one key. */
const KEY_LOCK = 7_262_734_002;

export interface StateSigner {
  keyId: string;
  /** Raw Ed25519, base64. */
  publicKey: string;
  /** Signature over the UTF-8 bytes of `payload`, base64. */
  sign(payload: string): string;
}

/** The key in force; made when there is none. */
export async function loadSigner(db: Database, secrets: SecretStore, now: number): Promise<StateSigner> {
  const row = await db.prisma.$transaction(async tx => {
    await tx.$executeRaw`SELECT pg_advisory_xact_lock(${KEY_LOCK})`;
    const existing = await tx.signingKey.findFirst({
      where: { retiredAt: null },
      orderBy: { createdAt: 'desc' },
    });
    if (existing !== null) return existing;
    const pair = generateKeyPairSync('ed25519');
    const publicKey = rawPublicKey(pair.publicKey);
    const id = createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
    const privatePem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    return tx.signingKey.create({
      data: {
        id,
        publicKey: publicKey.toString('base64'),
        privateSealed: secrets.seal(privatePem, `signing-key:${id}`),
        createdAt: new Date(now),
      },
    });
  });
  const key = createPrivateKey(secrets.open(row.privateSealed, `signing-key:${row.id}`));
  return {
    keyId: row.id,
    publicKey: row.publicKey,
    sign: payload => sign(null, Buffer.from(payload, 'utf8'), key).toString('base64'),
  };
}

/** Keys whose signatures a newly enrolled node shall trust. */
export async function trustedKeys(db: Database): Promise<{ keyId: string; publicKey: string }[]> {
  const rows = await db.prisma.signingKey.findMany({
    where: { retiredAt: null },
    orderBy: { createdAt: 'desc' },
  });
  return rows.map(({ id, publicKey }) => ({ keyId: id, publicKey }));
}

/** The 32 bytes of an Ed25519 public key: the end of its SPKI form. */
export function rawPublicKey(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' }).subarray(-32);
}

/** A key object from those 32 bytes (RFC 8410 section 4 gives the prefix). */
export function publicKeyFromRaw(raw: Uint8Array): KeyObject {
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}
