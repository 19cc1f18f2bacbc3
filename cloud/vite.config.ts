/**
 * How the portal is built: Remix's Vite plugin with every v3 flag on, so that the later move to React Router 7 is
 * mechanical. The server's own code is no part of this build; it hands itself in through the load context
 * (app/api.server.ts). The agent and cloud servers are bundled by installer/local/build.ts.
 */
import { vitePlugin as remix } from '@remix-run/dev';
import { defineConfig } from 'vite';

declare module '@remix-run/server-runtime' {
  interface Future {
    v3_singleFetch: true;
  }
}

export default defineConfig({
  plugins: [
    remix({
      appDirectory: 'app',
      buildDirectory: 'build',
      future: {
        v3_fetcherPersist: true,
        v3_lazyRouteDiscovery: true,
        v3_relativeSplatPath: true,
        v3_routeConfig: true,
        v3_singleFetch: true,
        v3_throwAbortReason: true,
      },
    }),
  ],
  // The shared workspace is TypeScript source and has to be compiled in; everything else stays a package.
  ssr: { noExternal: [/^@mastline\/shared/] },
  build: { target: 'es2022', sourcemap: false },
});
