import { Notification, showErrorMessage } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

const BASE = 'elastichub/v1/activity';
const PAUSE = 20_000; // milliseconds between two looks
const SHOWN = 8_000; // milliseconds for which an answer is shown
const MARK = /^⏻ .*? · /; // begins the title of a page in the background

/** What the notebook server says of its stop for idleness. */
interface IStop {
  /** When it will be stopped if nobody uses it; null: not within the next minutes. */
  stopAt: string | null;
  /** Until when somebody wants it kept. */
  snoozedUntil: string | null;
  /** Whether it can be kept longer. */
  canKeep: boolean;
}

interface IWords {
  stops: string;
  keep: string;
  kept: string;
  failed: string;
}

const WORDS: { [language: string]: IWords } = {
  en: {
    stops: 'This server will be stopped at {time}, since nothing runs.',
    keep: 'Keep another hour',
    kept: 'This server is kept until {time}.',
    failed: 'This server cannot be kept any longer'
  },
  ru: {
    stops: 'Этот сервер будет остановлен в {time}: на нём ничего не выполняется.',
    keep: 'Сохранить ещё на час',
    kept: 'Сервер будет работать до {time}.',
    failed: 'Продлить работу этого сервера больше нельзя'
  },
  zh: {
    stops: '此服务器没有任何任务在运行,将于 {time} 停止。',
    keep: '再保留一小时',
    kept: '此服务器将保留到 {time}。',
    failed: '无法继续保留此服务器'
  }
};

/** The first of the browser's languages that there are words in, as the form and the console have it. */
function words(): IWords {
  for (const language of navigator.languages) {
    const known = WORDS[language.toLowerCase().split('-')[0]];
    if (known) {
      return known;
    }
  }
  return WORDS.en;
}

const clock = (instant: string): string =>
  new Date(instant).toLocaleTimeString(navigator.language, { hour: '2-digit', minute: '2-digit' });

/** Says in the page when the server will be stopped, and keeps it as its user asks. It looks on until the
 * page is gone. */
export class StopNotice {
  private _shown = ''; // the notification
  private _stopAt = ''; // what it speaks of
  private _timer = 0;

  constructor(private readonly _settings: ServerConnection.ISettings) {
    document.addEventListener('visibilitychange', () => {
      this._entitle();
      if (this._timer && !document.hidden) {
        void this._look();
      }
    });
    void this._look();
  }

  private async _look(): Promise<void> {
    window.clearTimeout(this._timer);
    this._timer = 0;
    let there = true;
    try {
      const response = await this._ask('GET', '');
      there = response.status !== 404; // no such extension, or one of a former release
      if (response.ok) {
        this._take((await response.json()) as IStop);
      }
    } catch {
      // It is asked again: a page lives longer than a connection.
    }
    if (there) {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => void this._look(), PAUSE);
    }
  }

  private _ask(method: string, path: string): Promise<Response> {
    const url = URLExt.join(this._settings.baseUrl, BASE, path);
    return ServerConnection.makeRequest(url, { method }, this._settings);
  }

  private _take(stop: IStop): void {
    const stopAt = stop.stopAt ?? '';
    const former = this._stopAt;
    this._stopAt = stopAt;
    this._entitle();
    if (stopAt === former) {
      return; // it is shown, or its user has closed it
    }
    Notification.dismiss(this._shown);
    if (!stopAt) {
      return;
    }
    const said = words();
    const keep = { label: said.keep, displayType: 'accent' as const, callback: () => void this._keep() };
    this._shown = Notification.emit(said.stops.replace('{time}', clock(stopAt)), 'warning', {
      autoClose: false,
      actions: stop.canKeep ? [keep] : []
    });
  }

  /** A page in the background, as most are whose server is idle, says it in its title. JupyterLab sets that
   * anew now and then. */
  private _entitle(): void {
    const own = document.title.replace(MARK, '');
    const title = this._stopAt && document.hidden ? `⏻ ${clock(this._stopAt)} · ${own}` : own;
    if (title !== document.title) {
      document.title = title;
    }
  }

  private async _keep(): Promise<void> {
    const said = words();
    try {
      const response = await this._ask('POST', 'snooze');
      if (!response.ok) {
        throw await ServerConnection.ResponseError.create(response);
      }
      const stop = (await response.json()) as IStop;
      this._take(stop);
      if (stop.snoozedUntil) {
        Notification.success(said.kept.replace('{time}', clock(stop.snoozedUntil)), { autoClose: SHOWN });
      }
    } catch (error) {
      void showErrorMessage(said.failed, error as Error);
    }
  }
}
