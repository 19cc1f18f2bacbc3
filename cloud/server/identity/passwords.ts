/** People's passwords: argon2id with the parameters OWASP names (19 MiB, two passes, one lane). */
import { hash, verify } from '@node-rs/argon2';

// Argon2id is algorithm 2; the package exports it as a const enum, which isolated modules cannot import.
const OPTIONS = { algorithm: 2, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
/** Longer ones cost more to hash than a log-in may; nobody types them. */
export const MAX_PASSWORD_LENGTH = 200;

/** PHC string form. */
export function hashPassword(password: string): Promise<string> {
  return hash(password, OPTIONS);
}

let decoy: Promise<string> | undefined;

/** With a null hash (no such account) it takes as long and says false: answers do not tell which accounts exist. */
export async function checkPassword(password: string, phcHash: string | null): Promise<boolean> {
  if (password.length > MAX_PASSWORD_LENGTH) return false;
  decoy ??= hashPassword('nobody has this password');
  const matches = await verify(phcHash ?? (await decoy), password);
  return matches && phcHash !== null;
}
