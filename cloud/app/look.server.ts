/** What a person chose for the look, and the zone their browser told: two plain cookies, read on every page. */
export const LOOKS = ['system', 'light', 'dark'] as const;
export type Look = (typeof LOOKS)[number];

const YEAR_SECONDS = 365 * 24 * 3600;

/** The chosen look; `system` when none was chosen or the cookie is nonsense. */
export function lookOf(request: Request): Look {
  const value = cookie(request, 'mastline_look');
  return LOOKS.find(look => look === value) ?? 'system';
}

export function lookCookie(look: Look): string {
  return `mastline_look=${look}; Path=/; Max-Age=${YEAR_SECONDS}; SameSite=Lax`;
}

/** The viewer's IANA zone, as the page's script left it in a cookie; UTC until then. */
export function zoneOf(request: Request): string {
  const value = cookie(request, 'mastline_zone');
  if (value === undefined || value.length > 64) return 'UTC';
  try {
    // Throws for a zone that this runtime does not know: never trust a cookie with a formatter.
    return new Intl.DateTimeFormat('en', { timeZone: value }).resolvedOptions().timeZone;
  } catch (error) {
    if (error instanceof RangeError) return 'UTC';
    throw error;
  }
}

function cookie(request: Request, name: string): string | undefined {
  for (const part of (request.headers.get('cookie') ?? '').split(';')) {
    const at = part.indexOf('=');
    if (at < 0 || part.slice(0, at).trim() !== name) continue;
    try {
      return decodeURIComponent(part.slice(at + 1).trim());
    } catch (error) {
      if (error instanceof URIError) return undefined;
      throw error;
    }
  }
  return undefined;
}
