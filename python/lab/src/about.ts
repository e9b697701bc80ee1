import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

export const BASE = 'elastichub/v1/documents';

/** What the notebook server says of the documents that it keeps. */
export interface IAbout {
  kept: boolean;
  /** Why it keeps none, for its user; empty if nobody needs to know. */
  reason: string;
  /** Bytes of a message from which on it hangs up. */
  maxMessage: number;
}

/** null where there is no such server extension, as on a server without a gateway. */
export async function ask(settings: ServerConnection.ISettings): Promise<IAbout | null> {
  try {
    const response = await ServerConnection.makeRequest(URLExt.join(settings.baseUrl, BASE), {}, settings);
    return response.ok ? ((await response.json()) as IAbout) : null;
  } catch {
    return null;
  }
}
