/** Asks the server for one secret: of a credential, or a Shadowsocks link. It lives in the page's memory only, and only as long as it is shown. */

/** How long a revealed secret stays on the screen. */
export const SHOWN_MS = 60_000;
const DEADLINE_MS = 10_000;

export interface Secret {
  username: string;
  secret: string;
}

/** Throws an Error whose message is fit for people. */
export function revealSecret(credentialId: string): Promise<Secret> {
  return ask(`/credentials/${encodeURIComponent(credentialId)}/reveal`, isSecret);
}

/** What a Shadowsocks client is set up with. */
export interface Access {
  link: string;
  qrSvg: string;
}

/** The same for the Shadowsocks link of an endpoint, as this credential. */
export function shadowsocksAccess(endpointId: string, credentialId: string): Promise<Access> {
  const form = new FormData();
  form.set('credential', credentialId);
  return ask(`/endpoints/${encodeURIComponent(endpointId)}/shadowsocks`, isAccess, form);
}

async function ask<T>(path: string, fits: (body: unknown) => body is T, form?: FormData): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(path, {
      method: 'POST',
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(DEADLINE_MS),
      ...(form ? { body: form } : {}),
    });
  } catch (error) {
    throw new Error('The server did not answer. Check the connection, then try again.', { cause: error });
  }
  const body: unknown = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(messageIn(body) ?? `The server answered with status ${answer.status}.`);
  if (!fits(body)) throw new Error('The server answered without a secret. Reload the page, then try again.');
  return body;
}

/** Roles that may see secrets; the server decides, this only spares a person the attempt. */
export function maySeeSecrets(role: string): boolean {
  return role === 'owner' || role === 'admin';
}

function isSecret(body: unknown): body is Secret {
  return (
    typeof body === 'object' &&
    body !== null &&
    'username' in body &&
    typeof body.username === 'string' &&
    'secret' in body &&
    typeof body.secret === 'string'
  );
}

function isAccess(body: unknown): body is Access {
  return (
    typeof body === 'object' &&
    body !== null &&
    'link' in body &&
    typeof body.link === 'string' &&
    'qrSvg' in body &&
    typeof body.qrSvg === 'string'
  );
}

function messageIn(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null || !('message' in body)) return undefined;
  return typeof body.message === 'string' ? body.message : undefined;
}
