/** Where to go after logging in. Pure; only ever a path of this portal, never another site's address. */

const DEFAULT = '/dashboard';

/** `/login?to=/usage%3Frange%3D7d` for a request that needs a session. */
export function loginPath(request: Request): string {
  const url = new URL(request.url);
  // A form or script that posts cannot be repeated by a redirect: its page is the better place to come back to.
  if (request.method !== 'GET') return '/login';
  // A script's request for data, and a download, lead back to the page that they belong to.
  const to = `${url.pathname.replace(/\.(data|csv)$/, '')}${withoutInternals(url)}`;
  return to === DEFAULT || to === '/' ? '/login' : `/login?to=${encodeURIComponent(to)}`;
}

/** The path to go to, or the dashboard when it is missing or leads away from the portal. */
export function safeDestination(to: string | null | undefined): string {
  if (!to?.startsWith('/') || to.startsWith('//') || to.includes('\\')) return DEFAULT;
  // Tabs and newlines are dropped by URL parsers, which turns "/\t/evil.example" into "//evil.example".
  for (const char of to) if (char.charCodeAt(0) < 0x20) return DEFAULT;
  const base = 'http://portal.invalid';
  const url = new URL(to, base);
  if (url.origin !== base || url.pathname === '/login' || url.pathname === '/logout') return DEFAULT;
  return `${url.pathname}${url.search}`;
}

function withoutInternals(url: URL): string {
  const query = new URLSearchParams(url.search);
  query.delete('_routes');
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}
