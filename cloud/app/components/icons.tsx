/** The portal's own line icons, 20 × 20. Decoration only: what they mean stands beside them or in a label. */
const PATHS = {
  dashboard: 'M3 3h6v7H3zM11 3h6v4h-6zM11 10h6v7h-6zM3 13h6v4H3z',
  endpoints:
    'M4 10h5M13.5 4.5 9 10l4.5 5.5M4 10a1.5 1.5 0 1 1-.01 0M15 4a1.5 1.5 0 1 1-.01 0M15 16a1.5 1.5 0 1 1-.01 0',
  credentials: 'M6.8 13.6a3.6 3.6 0 1 1 0-7.2 3.6 3.6 0 0 1 0 7.2ZM10.4 10H17.5v3M14.3 10v2.3',
  connections: 'M3 6h10M10.5 3 13.5 6l-3 3M17 14H7M9.5 11 6.5 14l3 3',
  usage: 'M3 17h14M5.5 13.5v-4M10 13.5V4M14.5 13.5v-6.5',
  system: 'M3.2 14.5a7 7 0 1 1 13.6 0M10 13.5l3.2-4M6.5 16.5h7',
  settings: 'M3 6h7M14 6h3M12 4a2 2 0 1 1-.01 0M3 14h3M10 14h7M8 12a2 2 0 1 1-.01 0',
  copy: 'M7.5 7.5h8.5v8.5H7.5zM12.5 7.5V4H4v8.5h3.5',
  check: 'm4.5 10.5 3.5 3.5 7.5-8',
  cross: 'm5.5 5.5 9 9m0-9-9 9',
  eye: 'M2.5 10S5 4.8 10 4.8 17.5 10 17.5 10 15 15.2 10 15.2 2.5 10 2.5 10ZM10 12.3a2.3 2.3 0 1 0 0-4.6 2.3 2.3 0 0 0 0 4.6Z',
  'eye-off':
    'M4 4l12 12M8.3 5a7 7 0 0 1 1.7-.2C15 4.8 17.5 10 17.5 10a13 13 0 0 1-2.2 2.9M12.5 14.8a6.6 6.6 0 0 1-2.5.4C5 15.2 2.5 10 2.5 10a12.5 12.5 0 0 1 2.9-3.5',
  chevrons: 'm6.5 8 3.5-3.5L13.5 8M6.5 12l3.5 3.5 3.5-3.5',
  logout: 'M8 4H4.5v12H8M12 6.5 15.5 10 12 13.5M15 10H8',
  download: 'M10 3.5v9M6.5 9 10 12.5 13.5 9M4 16.5h12',
  alert: 'M10 3 18 16.5H2zM10 8v4M10 14.3v.01',
  modem: 'M5 8.5h10v8H5zM8 12.5h.01M10.5 12.5h2M7 5.5a4.3 4.3 0 0 1 6 0M10 8.5V7.5',
  down: 'M10 4v12M5.5 11.5 10 16l4.5-4.5',
  up: 'M10 16V4M5.5 8.5 10 4l4.5 4.5',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg
      className="icon"
      width={size}
      height={size}
      viewBox="0 0 20 20"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.6"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** A mast and its line. */
export function Logo({ size = 28 }: { size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect className="logo-ground" width="32" height="32" rx="8" />
      <path
        className="logo-lines"
        d="M12 25V7m0 1.5c2.5 7.5 7 12.5 13 15.5M12 8.5C11 14.5 9.5 19.5 6.5 24M6 25h20"
        fill="none"
        strokeWidth="2.3"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
