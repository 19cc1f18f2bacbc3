/** Roles that may change settings; the server decides, this only spares a person the attempt. */

export const maySetSettings = (role: string): boolean => role === 'owner' || role === 'admin';

/** Of nodes and their modems. */
export const maySetNodes = (role: string): boolean => maySetSettings(role) || role === 'fleet';
