import { Notification, showErrorMessage } from '@jupyterlab/apputils';
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

const BASE = 'elastichub/v1/activity';
const PAUSE = 20_000; // milliseconds between two looks
const SHOWN = 8_000; // milliseconds for which an answer is shown
const HASTE = 1_000; // as long as a stop is coming, after its user has done something
const DEEDS = ['keydown', 'pointerdown', 'wheel', 'touchstart']; // what only a person does
const LONGEST_RUN = 'MaxRun';
const MARK = /^⏻ .*? · /; // begins the title of a page in the background

/** What the notebook server says of its stop. */
interface IStop {
  /** When it will be stopped; null: not within the next minutes. */
  stopAt: string | null;
  /** LONGEST_RUN: it has run for as long as is allowed, and is stopped whoever uses it. */
  cause: string | null;
  /** Until when somebody wants it kept. */
  snoozedUntil: string | null;
  /** Whether it can be kept longer. */
  canKeep: boolean;
}

interface IWords {
  stops: string;
  ends: string;
  keep: string;
  kept: string;
  failed: string;
}

const WORDS: { [language: string]: IWords } = {
  en: {
    stops: 'This server will be stopped at {time}, since nothing runs.',
    ends: 'This server will be stopped at {time}: it has run for as long as is allowed. Save what you need.',
    keep: 'Keep another hour',
    kept: 'This server is kept until {time}.',
    failed: 'This server cannot be kept any longer'
  },
  ru: {
    stops: 'Этот сервер будет остановлен в {time}: на нём ничего не выполняется.',
    ends: 'Этот сервер будет остановлен в {time}: он проработал максимально разрешённое время. Сохраните нужное.',
    keep: 'Сохранить ещё на час',
    kept: 'Сервер будет работать до {time}.',
    failed: 'Продлить работу этого сервера больше нельзя'
  },
  zh: {
    stops: '此服务器没有任何任务在运行,将于 {time} 停止。',
    ends: '此服务器已达到允许的最长运行时间,将于 {time} 停止。请保存所需内容。',
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

/** Says in the page when the server will be stopped, keeps it as its user asks, and tells the server when its
 * user did something: JupyterLab's own requests do not show that. It looks on until the page is gone. */
export class StopNotice {
  private _shown = ''; // the notification
  private _stopAt = ''; // what it speaks of
  private _cause = ''; // of it
  private _timer = 0;
  private _used: number | null = Date.now(); // by its user, and not told yet: the page was opened

  constructor(private readonly _settings: ServerConnection.ISettings) {
    for (const deed of DEEDS) {
      document.addEventListener(deed, event => this._note(event), { capture: true, passive: true });
    }
    document.addEventListener('visibilitychange', () => {
      this._entitle();
      if (this._timer && !document.hidden) {
        void this._look();
      }
    });
    void this._look();
  }

  private _note(event: Event): void {
    if (!event.isTrusted) {
      return; // of a program
    }
    const first = this._used === null;
    this._used = Date.now();
    if (first && this._timer && this._putsOff()) {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => void this._look(), HASTE);
    }
  }

  /** Whether the server is not stopped if it hears of a use in time. */
  private _putsOff(): boolean {
    return this._stopAt !== '' && this._cause !== LONGEST_RUN;
  }

  private async _look(): Promise<void> {
    window.clearTimeout(this._timer);
    this._timer = 0;
    let there = true;
    let pause = PAUSE;
    const used = this._used;
    try {
      const usedSecondsAgo = used === null ? null : Math.max(0, (Date.now() - used) / 1000);
      const response = await this._ask('POST', 'page', JSON.stringify({ usedSecondsAgo }));
      there = response.status !== 404; // no such extension, or one of a former release
      if (response.ok) {
        this._take((await response.json()) as IStop);
        if (this._used === used) {
          this._used = null;
        } else if (this._putsOff()) {
          pause = HASTE;
        }
      }
    } catch {
      // It is asked again: a page lives longer than a connection.
    }
    if (there) {
      window.clearTimeout(this._timer);
      this._timer = window.setTimeout(() => void this._look(), pause);
    }
  }

  private _ask(method: string, path: string, body?: string): Promise<Response> {
    const url = URLExt.join(this._settings.baseUrl, BASE, path);
    return ServerConnection.makeRequest(url, { method, body }, this._settings);
  }

  private _take(stop: IStop): void {
    const stopAt = stop.stopAt ?? '';
    const former = this._stopAt;
    this._stopAt = stopAt;
    this._cause = stop.cause ?? '';
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
    const sentence = stop.cause === LONGEST_RUN ? said.ends : said.stops;
    this._shown = Notification.emit(sentence.replace('{time}', clock(stopAt)), 'warning', {
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
