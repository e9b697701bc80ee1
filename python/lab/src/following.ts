import { Notification } from '@jupyterlab/apputils';
import { CodeCell, CodeCellModel } from '@jupyterlab/cells';
import { URLExt } from '@jupyterlab/coreutils';
import { IOutput } from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import { Contents, ServerConnection } from '@jupyterlab/services';
import { IDisposable } from '@lumino/disposable';
import { BASE } from './about';
import { offer } from './aside';
import { Shown } from './shown';

const FIRST_PAUSE = 1_000; // milliseconds until it is tried again
const LONGEST_PAUSE = 30_000;

/** What the server tells of one run of a cell: how it differs from what it has told before. */
export interface IChange {
  run: string;
  cell: string;
  /** The source that is run; with the first that is told of a run, and then `same` is 0. */
  code?: string;
  /** How many outputs stay. */
  same: number;
  /** What is appended to the last of them, a stream. */
  text: string;
  /** What follows them instead of what was there. */
  outputs: IOutput[];
  count: number | null;
  running: boolean;
}

type Told = IChange | { begin: string[] } | { gone: string } | { aside: string } | { notice: string };

/** Shows in one notebook what its cells print that this page has not run. */
export class Following implements IDisposable {
  private _socket: WebSocket | null = null;
  private _timer = 0;
  private _pause = FIRST_PAUSE;
  private _isDisposed = false;
  private readonly _runs = new Map<string, Shown>();

  constructor(
    private readonly _panel: NotebookPanel,
    private readonly _contents: Contents.IManager,
    private readonly _settings: ServerConnection.ISettings,
    private readonly _open: (path: string) => void
  ) {
    _panel.context.pathChanged.connect(this._connect, this);
    _panel.sessionContext.kernelChanged.connect(this._connect, this);
    window.addEventListener('online', this._wake);
    document.addEventListener('visibilitychange', this._wake);
    void _panel.context.ready.then(() => this._connect());
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    window.removeEventListener('online', this._wake);
    document.removeEventListener('visibilitychange', this._wake);
    this._hangUp();
  }

  private readonly _wake = (): void => {
    if (this._timer && !document.hidden) {
      this._connect();
    }
  };

  private _hangUp(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
    const socket = this._socket;
    this._socket = null;
    socket?.close();
  }

  private _connect(): void {
    this._hangUp();
    const { context, sessionContext } = this._panel;
    // A document that pages share shows all of it already.
    if (this._isDisposed || !context.isReady || context.model.collaborative || this._contents.driveName(context.path)) {
      return;
    }
    const query = new URLSearchParams({ path: context.path, session: sessionContext.session?.kernel?.clientId ?? '' });
    if (this._settings.appendToken && this._settings.token) {
      query.set('token', this._settings.token);
    }
    const socket = new this._settings.WebSocket(`${URLExt.join(this._settings.wsUrl, BASE, 'follow')}?${query}`);
    this._socket = socket;
    socket.onmessage = event => {
      if (socket !== this._socket) {
        return;
      }
      this._pause = FIRST_PAUSE;
      try {
        this._take(JSON.parse(event.data as string) as Told);
      } catch (error) {
        console.error('elastichub: what a cell printed cannot be shown', error);
      }
      if (socket === this._socket) {
        socket.send('next');
      }
    };
    socket.onclose = () => {
      if (socket === this._socket) {
        this._timer = window.setTimeout(() => this._connect(), this._pause);
        this._pause = Math.min(2 * this._pause, LONGEST_PAUSE);
      }
    };
  }

  private _take(told: Told): void {
    if ('notice' in told) {
      Notification.error(told.notice, { autoClose: false });
    } else if ('aside' in told) {
      offer(told.aside, this._panel, this._contents, this._open);
    } else {
      // What the server has as well is no change that this page has to save.
      const { model } = this._panel.context;
      const dirty = model.dirty;
      try {
        this._show(told);
      } finally {
        model.dirty = dirty;
      }
    }
  }

  private _show(told: IChange | { begin: string[] } | { gone: string }): void {
    if ('begin' in told) {
      for (const run of this._runs.keys()) {
        if (!told.begin.includes(run)) {
          this._leave(run);
        }
      }
    } else if ('gone' in told) {
      this._leave(told.gone);
    } else {
      this._change(told);
    }
  }

  private _leave(run: string): void {
    const shown = this._runs.get(run);
    this._runs.delete(run);
    if (shown && shown.model === this._find(shown.model.id)) {
      shown.model.executionState = 'idle';
    }
  }

  private _change(change: IChange): void {
    const model = this._find(change.cell);
    if (change.code !== undefined) {
      this._runs.delete(change.run);
      if (model && model.sharedModel.getSource() === change.code) {
        this._runs.set(change.run, new Shown(model));
      }
    }
    const shown = this._runs.get(change.run);
    if (!shown || !model) {
      return;
    }
    if (shown.model !== model) {
      this._connect(); // the notebook was loaded anew, with what had come until then
      return;
    }
    shown.change(change);
  }

  /** The model of a code cell that this page does not run itself. */
  private _find(id: string): CodeCellModel | null {
    const cell = this._panel.content.widgets.find(widget => widget.model.id === id);
    if (!(cell instanceof CodeCell)) {
      return null;
    }
    const future = cell.outputArea.future;
    return future && !future.isDisposed ? null : (cell.model as CodeCellModel);
  }
}
