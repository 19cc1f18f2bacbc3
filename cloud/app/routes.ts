/** The site map: every address of the portal, and the file that answers it. */
import type { RouteConfig } from '@remix-run/dev/dist/config/routes';

export default [
  { index: true, file: 'routes/home.ts' },
  { path: 'login', file: 'routes/login.tsx' },
  { path: 'logout', file: 'routes/logout.ts' },
  { path: 'theme', file: 'routes/theme.ts' },
  { path: 'organization', file: 'routes/organization.ts' },
  {
    file: 'routes/portal.tsx',
    children: [
      { path: 'dashboard', file: 'routes/dashboard.tsx' },
      { path: 'endpoints', file: 'routes/endpoints.tsx' },
      { path: 'endpoints/:endpointId', file: 'routes/endpoint.tsx' },
      { path: 'credentials', file: 'routes/credentials.tsx' },
      { path: 'credentials/:credentialId', file: 'routes/credential.tsx' },
      { path: 'modems/:slotId', file: 'routes/modem.tsx' },
      { path: 'nodes/:nodeId', file: 'routes/node.tsx' },
      { path: 'modems/:slotId/address', file: 'routes/rotation.tsx' },
      { path: 'usage', file: 'routes/usage.tsx' },
      { path: 'system', file: 'routes/system.tsx' },
      { path: 'connections', file: 'routes/connections.tsx' },
      { path: 'settings', file: 'routes/settings.tsx' },
      { path: '*', file: 'routes/not-found.tsx' },
    ],
  },
  { path: 'credentials/:credentialId/reveal', file: 'routes/reveal-credential.ts' },
  { path: 'endpoints/:endpointId/shadowsocks', file: 'routes/shadowsocks-access.ts' },
  { path: 'system/figures', file: 'routes/system-figures.ts' },
  { path: 'usage.csv', file: 'routes/usage-csv.ts' },
  { path: 'connections.csv', file: 'routes/connections-csv.ts' },
] satisfies RouteConfig;
