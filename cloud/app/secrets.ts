/** Asks the server for one proxy secret. It lives in the page's memory only, and only as long as it is shown. */

/** How long a revealed secret stays on the screen. */
export const SHOWN_MS = 60_000;
const DEADLINE_MS = 10_000;

export interface Secret {
  username: string;
  secret: string;
}

/** Throws an Error whose message is fit for people. */
export async function revealSecret(credentialId: string): Promise<Secret> {
  let answer: Response;
  try {
    answer = await fetch(`/credentials/${encodeURIComponent(credentialId)}/reveal`, {
      method: 'POST',
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
  } catch (error) {
    throw new Error('The server did not answer. Check the connection, then try again.', { cause: error });
  }
  const body: unknown = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(messageIn(body) ?? `The server answered with status ${answer.status}.`);
  if (!isSecret(body))
    throw new Error('The server answered without a secret. Reload the page, then try again.');
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

function messageIn(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null || !('message' in body)) return undefined;
  return typeof body.message === 'string' ? body.message : undefined;
}
