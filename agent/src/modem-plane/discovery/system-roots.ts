/** Where the system's own folders are, as a parameter: tests build a tree of files and links instead of a kernel. */
export interface SystemRoots {
  sysfs: string;
  proc: string;
  dev: string;
  etc: string;
  run: string;
}

export const SYSTEM_ROOTS: SystemRoots = {
  sysfs: '/sys',
  proc: '/proc',
  dev: '/dev',
  etc: '/etc',
  run: '/run',
};
