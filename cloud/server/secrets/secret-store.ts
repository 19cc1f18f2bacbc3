/**
 * Seals what must not lie open in the database: proxy secrets, signing keys. AES-256-GCM; a sealed value names its key,
 * and is bound to what it is for, so that one cannot be put in another's place. People's passwords are not sealed but
 * hashed (identity/passwords.ts).
 *
 *   sealed = "v1." keyId "." base64url(iv) "." base64url(ciphertext || tag)
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { CodedError } from '@mastline/shared/base/coded-error';

const IV_BYTES = 12;
const TAG_BYTES = 16;
export const SECRET_KEY_BYTES = 32;

export interface SecretStore {
  /** `purpose` names the row, such as `credential:<id>`; opening needs the same. */
  seal(plain: string, purpose: string): string;
  /** `secrets/unknown-key` when sealed with a key this process does not have, `secrets/tampered` otherwise. */
  open(sealed: string, purpose: string): string;
}

export function secretStore(key: Buffer): SecretStore {
  if (key.length !== SECRET_KEY_BYTES)
    throw new CodedError(
      'secrets/bad-key',
      `the secret key has ${key.length} bytes, not ${SECRET_KEY_BYTES}`,
    );
  const keyId = createHash('sha256').update('mastline-secret-key-id').update(key).digest('hex').slice(0, 12);
  return {
    seal(plain, purpose) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(purpose));
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()]);
      return `v1.${keyId}.${iv.toString('base64url')}.${body.toString('base64url')}`;
    },
    open(sealed, purpose) {
      const [version, sealedWith, ivText, bodyText] = sealed.split('.');
      if (version !== 'v1' || ivText === undefined || bodyText === undefined)
        throw new CodedError('secrets/tampered', 'not a sealed value');
      if (sealedWith !== keyId)
        throw new CodedError(
          'secrets/unknown-key',
          `sealed with key ${sealedWith}, this process has ${keyId}`,
          {
            userMessage:
              'A secret in the database was sealed with another key. Start the cloud with the key it was made with (MASTLINE_SECRET_KEY, or secret.key in the data directory).',
          },
        );
      const body = Buffer.from(bodyText, 'base64url');
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(ivText, 'base64url'), {
          authTagLength: TAG_BYTES,
        })
          .setAAD(Buffer.from(purpose))
          .setAuthTag(body.subarray(body.length - TAG_BYTES));
        return decipher.update(body.subarray(0, -TAG_BYTES), undefined, 'utf8') + decipher.final('utf8');
      } catch (cause) {
        throw new CodedError('secrets/tampered', `a value sealed for ${purpose} does not open`, { cause });
      }
    },
  };
}
