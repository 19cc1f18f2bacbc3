/**
 * What a stick wants to see instead of a password: pure arithmetic, no requests (sign-in.ts). SCRAM here is Huawei's:
 * key and data of the client key's HMAC stand the other way round than in RFC 5802 section 3.
 */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';

/** More would hold up the agent; sticks ask for 100. */
export const MAX_ITERATIONS = 10_000;

const sha256Hex = (text: string) => createHash('sha256').update(text, 'utf8').digest('hex');
const base64 = (text: string) => Buffer.from(text, 'utf8').toString('base64');

/** Password types 0 and 3: hidden from nobody. */
export const plainProof = (password: string) => base64(password);

/** Password type 4: salted with the user's name and the token that the same request carries. */
export function hashedProof(login: { username: string; password: string; token: string }): string {
  const inner = base64(sha256Hex(login.password));
  return base64(sha256Hex(login.username + inner + login.token));
}

/** Lower-case hex. `saltHex` and `iterations` are the stick's; throws RangeError when they make no sense. */
export function scramProof(login: {
  password: string;
  saltHex: string;
  iterations: number;
  firstNonce: string;
  serverNonce: string;
}): string {
  const { saltHex, iterations, firstNonce, serverNonce } = login;
  if (!/^(?:[0-9a-f]{2}){1,64}$/i.test(saltHex)) throw new RangeError('the salt is not hex');
  if (!Number.isInteger(iterations) || iterations < 1 || iterations > MAX_ITERATIONS)
    throw new RangeError(`${iterations} iterations are not 1 to ${MAX_ITERATIONS}`);
  if (!serverNonce.startsWith(firstNonce)) throw new RangeError("the stick's nonce does not begin with ours");
  const salted = pbkdf2Sync(login.password, Buffer.from(saltHex, 'hex'), iterations, 32, 'sha256');
  const clientKey = createHmac('sha256', 'Client Key').update(salted).digest();
  const storedKey = createHash('sha256').update(clientKey).digest();
  const authMessage = `${firstNonce},${serverNonce},${serverNonce}`;
  const signature = createHmac('sha256', authMessage).update(storedKey).digest();
  return Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('hex');
}
