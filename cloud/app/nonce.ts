/** The nonce that lets this page's own scripts run under the content security policy; undefined in the browser. */
import { createContext } from 'react';

export const NonceContext = createContext<string | undefined>(undefined);
