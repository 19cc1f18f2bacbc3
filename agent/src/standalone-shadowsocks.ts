/**
 * What a standalone file says about Shadowsocks, as the data plane wants it: one raw key for each credential of a
 * listener. Passwords stay here. Problems name the field and the remedy, and come all at once. Pure.
 *
 * A credential's password is its own `password`; for the older methods its `secret` will do. A listener's `password`
 * is that of its only credential, or, where a 2022 method serves several, the port's own key (SIP023).
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { ShadowsocksService } from '@mastline/shared/domain/endpoint';
import { keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import {
  requireMethod,
  type ShadowsocksMethod,
  type ShadowsocksMethodName,
} from '@mastline/shared/protocols/shadowsocks/methods';

export interface ListenerPart {
  name: string;
  protocols: readonly string[];
  method?: ShadowsocksMethodName | undefined;
  password?: string | undefined;
  tls?: object | undefined;
}

export interface CredentialPart {
  username: string;
  secret?: string | undefined;
  password?: string | undefined;
  listeners?: readonly string[] | undefined;
}

export interface FilePart {
  listeners: readonly ListenerPart[];
  credentials: readonly CredentialPart[];
}

export interface ShadowsocksProblem {
  path: (string | number)[];
  message: string;
}

/** Services by the listener's name, and everything that is wrong. */
export function shadowsocksServices(file: FilePart): {
  services: Map<string, ShadowsocksService>;
  problems: ShadowsocksProblem[];
} {
  const services = new Map<string, ShadowsocksService>();
  const problems: ShadowsocksProblem[] = [];
  file.listeners.forEach((listener, index) => {
    const path = ['listeners', index];
    const say = (field: string, message: string) => problems.push({ path: [...path, field], message });
    if (!listener.protocols.includes('shadowsocks')) {
      if (listener.method !== undefined) say('method', 'is for listeners whose protocol is "shadowsocks"');
      if (listener.password !== undefined)
        say('password', 'is for listeners whose protocol is "shadowsocks"');
      return;
    }
    if (listener.protocols.length > 1)
      say('protocols', 'must be "shadowsocks" alone: it cannot share a port with another protocol');
    if (listener.tls) say('tls', 'is not for Shadowsocks, which is encrypted already');
    if (listener.method === undefined) {
      say('method', 'is needed by Shadowsocks, for example "aes-256-gcm" or "2022-blake3-aes-256-gcm"');
      return;
    }
    const service = serviceOf(file, { listener, index, method: requireMethod(listener.method) }, problems);
    services.set(listener.name, service);
  });
  return { services, problems };
}

interface Place {
  listener: ListenerPart;
  index: number;
  method: ShadowsocksMethod;
}

function serviceOf(file: FilePart, place: Place, problems: ShadowsocksProblem[]): ShadowsocksService {
  const { listener, index, method } = place;
  const at = (path: (string | number)[]) => (message: string) => void problems.push({ path, message });
  const listenerField = at(['listeners', index, 'password']);
  const allowed = file.credentials
    .map((credential, position) => ({ credential, position }))
    .filter(({ credential }) => credential.listeners?.includes(listener.name) ?? true);
  const own = allowed.filter(({ credential }) => ownPassword(credential, method) !== undefined);
  const service: ShadowsocksService = { method: method.name, keys: [] };
  const single = allowed.length === 1 ? allowed[0] : undefined;
  if (listener.password !== undefined && single && single.credential.password === undefined) {
    const key = keyOf(listener.password, method, listenerField);
    if (key) service.keys.push({ credentialId: single.credential.username, key });
    return service;
  }
  if (listener.password !== undefined && method.edition === 'aead') {
    listenerField(
      'is for a listener that one credential without a password of its own may use; give each credential its "password" instead',
    );
    return service;
  }
  if (listener.password !== undefined) {
    const serverKey = keyOf(listener.password, method, listenerField);
    if (serverKey) service.serverKey = serverKey;
  } else if (method.edition === '2022' && own.length > 1)
    listenerField(`is needed: ${method.name} tells several credentials apart by a key of the port`);
  for (const { credential, position } of own) {
    const field = at(['credentials', position, credential.password === undefined ? 'secret' : 'password']);
    const key = keyOf(ownPassword(credential, method) ?? '', method, field);
    if (!key) continue;
    if (service.keys.some(one => one.key === key)) field('is the password of another credential already');
    service.keys.push({ credentialId: credential.username, key });
  }
  if (own.length === 0)
    listenerField('or the "password" of a credential is needed: nobody could use this listener');
  return service;
}

function ownPassword(credential: CredentialPart, method: ShadowsocksMethod): string | undefined {
  return credential.password ?? (method.edition === 'aead' ? credential.secret : undefined);
}

/** The raw key in base64; null after saying what is wrong. */
function keyOf(password: string, method: ShadowsocksMethod, say: (message: string) => void): string | null {
  try {
    const [key, ...more] = keysFromPassword(password, method);
    if (key && more.length === 0) return key.toString('base64');
    say('must be one key: what clients join with a colon stands in two places here');
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    say(error.userMessage);
  }
  return null;
}
