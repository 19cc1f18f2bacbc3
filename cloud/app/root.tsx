/** The document around every screen: look, zone, fonts, icon. */

import interUrl from '@fontsource-variable/inter/files/inter-latin-wght-normal.woff2?url';
import type { LinksFunction, LoaderFunctionArgs, MetaFunction } from '@remix-run/node';
import {
  Links,
  Meta,
  Outlet,
  Scripts,
  ScrollRestoration,
  useFetchers,
  useLocation,
  useNavigation,
  useRevalidator,
  useRouteLoaderData,
} from '@remix-run/react';
import { type ReactNode, useContext, useEffect, useRef, useState } from 'react';
import { ErrorView } from './components/error-view';
import { lookOf, zoneOf } from './look.server';
import { NonceContext } from './nonce';
import './styles/tokens.css';
import './styles/base.css';
import './styles/shell.css';
import './styles/parts.css';
import './styles/screens.css';
import './styles/settings.css';
import './styles/recovery.css';
import './styles/rotation.css';
import './styles/system.css';

const ICON = `data:image/svg+xml,${encodeURIComponent(
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#1a57cc"/><path d="M12 25V7m0 1.5c2.5 7.5 7 12.5 13 15.5M12 8.5C11 14.5 9.5 19.5 6.5 24M6 25h20" fill="none" stroke="#fff" stroke-width="2.3" stroke-linecap="round" stroke-linejoin="round"/></svg>',
)}`;

export const links: LinksFunction = () => [
  { rel: 'icon', type: 'image/svg+xml', href: ICON },
  { rel: 'preload', as: 'font', type: 'font/woff2', href: interUrl, crossOrigin: 'anonymous' },
];

export const meta: MetaFunction = () => [{ title: 'Mastline' }];

export function loader({ request, context }: LoaderFunctionArgs) {
  return { look: lookOf(request), zone: zoneOf(request), requestId: context.requestId };
}

export function Layout({ children }: { children: ReactNode }) {
  const data = useRouteLoaderData<typeof loader>('root');
  const nonce = useContext(NonceContext);
  const pending = useFetchers()
    .find(fetcher => fetcher.formAction === '/theme')
    ?.formData?.get('look');
  const look = typeof pending === 'string' ? pending : (data?.look ?? 'system');
  return (
    <html lang="en" data-look={look}>
      <head>
        <meta charSet="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
        <meta name="color-scheme" content="light dark" />
        <Meta />
        <Links />
      </head>
      <body>
        {children}
        <ScrollRestoration nonce={nonce} />
        <Scripts nonce={nonce} />
      </body>
    </html>
  );
}

export default function Root() {
  return (
    <>
      <Progress />
      <Outlet />
      <ZoneTeller />
      <Announcer />
    </>
  );
}

export function ErrorBoundary() {
  return (
    <main className="content">
      <ErrorView />
    </main>
  );
}

function Progress() {
  const navigation = useNavigation();
  return navigation.state === 'idle' ? null : <div className="progress" aria-hidden="true" />;
}

/** Says the new screen's title to screen readers, which hear nothing when a script changes the page. */
function Announcer() {
  const { pathname } = useLocation();
  const [said, setSaid] = useState('');
  const first = useRef(pathname);
  useEffect(() => {
    // The first screen was announced by the browser itself.
    if (pathname !== first.current) setSaid(document.title);
    first.current = '';
  }, [pathname]);
  return (
    <p role="status" className="hidden-visually" id="announcer">
      {said}
    </p>
  );
}

/** Tells the server the browser's zone once; from then on pages come with the right times in them. */
function ZoneTeller() {
  const zone = useRouteLoaderData<typeof loader>('root')?.zone;
  const { revalidate } = useRevalidator();
  useEffect(() => {
    const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const cookie = `mastline_zone=${encodeURIComponent(mine)}`;
    if (mine === zone || document.cookie.includes(cookie)) return;
    // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API is missing in two browsers of three
    document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax`;
    void revalidate();
  }, [zone, revalidate]);
  return null;
}
