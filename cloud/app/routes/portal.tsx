/** The frame around every signed-in screen: menu, organization, user. */
import type { LoaderFunctionArgs } from '@remix-run/node';
import {
  Form,
  Link,
  NavLink,
  Outlet,
  useFetcher,
  useLoaderData,
  useLocation,
  useRouteLoaderData,
} from '@remix-run/react';
import { asMember } from '../api.server';
import type { Viewer } from '../api-types';
import { ErrorView } from '../components/error-view';
import { Icon, type IconName, Logo } from '../components/icons';
import { Menu } from '../components/menu';
import type { loader as rootLoader } from '../root';

export const loader = (args: LoaderFunctionArgs) => asMember(args, async (_api, viewer) => viewer);

interface Screen {
  to: string;
  icon: IconName;
  word: string;
}

const SCREENS: readonly Screen[] = [
  { to: '/dashboard', icon: 'dashboard', word: 'Dashboard' },
  { to: '/endpoints', icon: 'endpoints', word: 'Endpoints' },
  { to: '/credentials', icon: 'credentials', word: 'Credentials' },
  { to: '/usage', icon: 'usage', word: 'Usage' },
  { to: '/connections', icon: 'connections', word: 'Connections' },
];
/** For those who run the cloud. */
const SYSTEM: Screen = { to: '/system', icon: 'system', word: 'System' };

function screensFor({ active }: Viewer): readonly Screen[] {
  return active.kinds.includes('operator') ? [...SCREENS, SYSTEM] : SCREENS;
}

export default function Portal() {
  const viewer = useLoaderData<typeof loader>();
  return (
    <>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <div className="shell">
        <aside className="sidebar">
          <Brand />
          <OrganizationMenu viewer={viewer} />
          <nav aria-label="Main">
            <Screens viewer={viewer} size={19} className="nav" />
          </nav>
          <UserMenu viewer={viewer} opens="up" />
        </aside>
        <header className="topbar">
          <Brand short />
          <OrganizationMenu viewer={viewer} />
          <UserMenu viewer={viewer} opens="down" short />
        </header>
        <main className="content" id="content" tabIndex={-1}>
          <Outlet />
        </main>
        <nav className="bottombar" aria-label="Main">
          <Screens viewer={viewer} size={21} />
        </nav>
      </div>
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

function Brand({ short = false }: { short?: boolean }) {
  return (
    <Link className="brand" to="/dashboard" aria-label="Mastline, dashboard">
      <Logo />
      {!short && 'Mastline'}
    </Link>
  );
}

function Screens({ viewer, size, className }: { viewer: Viewer; size: number; className?: string }) {
  const screens = screensFor(viewer);
  return (
    <ul className={className} data-count={screens.length}>
      {screens.map(({ to, icon, word }) => (
        <li key={to}>
          <NavLink to={to}>
            <Icon name={icon} size={size} />
            <span>{word}</span>
          </NavLink>
        </li>
      ))}
    </ul>
  );
}

const KINDS = { customer: 'Customer', host: 'Host', operator: 'Operator' } as const;

function OrganizationMenu({ viewer }: { viewer: Viewer }) {
  const { pathname } = useLocation();
  const { active, organizations } = viewer;
  return (
    <Menu
      label={`Organization: ${active.name}. Switch, settings`}
      opens="down"
      boxed
      summary={
        <>
          <span className="avatar avatar-square" aria-hidden="true">
            {initials(active.name)}
          </span>
          <span className="menu-text">
            <span>{active.name}</span>
            <span>{active.kinds.map(kind => KINDS[kind]).join(', ')}</span>
          </span>
          <Icon name="chevrons" size={16} />
        </>
      }
    >
      <p className="menu-title">Organizations</p>
      <Form method="post" action="/organization">
        <input type="hidden" name="back" value={pathname} />
        {organizations.map(one => (
          <button
            key={one.id}
            className="menu-item"
            name="id"
            value={one.id}
            type="submit"
            aria-current={one.id === active.id}
          >
            <span className="avatar avatar-square" aria-hidden="true">
              {initials(one.name)}
            </span>
            <span className="menu-text">
              <span>{one.name}</span>
              <span>
                {one.kinds.map(kind => KINDS[kind]).join(', ')} · {one.role}
              </span>
            </span>
            {one.id === active.id && <Icon name="check" size={17} />}
          </button>
        ))}
      </Form>
      <hr className="menu-rule" />
      <Link className="menu-item" to="/settings">
        <Icon name="settings" size={18} />
        Settings of {active.name}
      </Link>
    </Menu>
  );
}

function UserMenu(props: { viewer: Viewer; opens: 'up' | 'down'; short?: boolean }) {
  const { user } = props.viewer;
  return (
    <Menu
      label={`${user.name}: look and log-out`}
      opens={props.opens}
      summary={
        <>
          <span className="avatar" aria-hidden="true">
            {initials(user.name)}
          </span>
          {!props.short && (
            <>
              <span className="menu-text">
                <span>{user.name}</span>
                <span>{user.email}</span>
              </span>
              <Icon name="chevrons" size={16} />
            </>
          )}
        </>
      }
    >
      {props.short && (
        <>
          <p className="menu-title">{user.email}</p>
          <hr className="menu-rule" />
        </>
      )}
      <LookChooser />
      <hr className="menu-rule" />
      <Form method="post" action="/logout">
        <button type="submit" className="menu-item">
          <Icon name="logout" size={18} />
          Log out
        </button>
      </Form>
    </Menu>
  );
}

const LOOKS = [
  ['light', 'Light'],
  ['dark', 'Dark'],
  ['system', 'System'],
] as const;

function LookChooser() {
  const fetcher = useFetcher();
  const { pathname, search } = useLocation();
  const saved = useRouteLoaderData<typeof rootLoader>('root')?.look;
  const chosen = fetcher.formData?.get('look') ?? saved;
  return (
    <fetcher.Form method="post" action="/theme">
      <input type="hidden" name="back" value={`${pathname}${search}`} />
      <p className="menu-title">Look</p>
      <fieldset className="look" aria-label="Look">
        {LOOKS.map(([look, word]) => (
          <button key={look} type="submit" name="look" value={look} aria-pressed={chosen === look}>
            {word}
          </button>
        ))}
      </fieldset>
    </fetcher.Form>
  );
}

function initials(name: string): string {
  const words = name.split(/[\s@.]+/).filter(word => word !== '');
  return words
    .slice(0, 2)
    .map(word => [...word][0]?.toUpperCase() ?? '')
    .join('');
}
