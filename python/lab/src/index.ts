// What a page of JupyterLab or Notebook 7 does for documents that the server keeps, and before
// the server is stopped (docs/notebook-image.md): where the server does not know of it, nothing.
import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ask } from './about';
import { Following } from './following';
import { tellInCells, watchSizes } from './notices';
import { StopNotice } from './stop';

const closedPage: JupyterFrontEndPlugin<void> = {
  id: '@elastichub/lab:closed-page',
  description: 'Shows what cells print that another page has run, or one that is gone',
  autoStart: true,
  requires: [INotebookTracker, IDocumentManager],
  activate: async (app: JupyterFrontEnd, tracker: INotebookTracker, documents: IDocumentManager) => {
    const { serverSettings, contents } = app.serviceManager;
    const about = await ask(serverSettings);
    if (about?.reason) {
      tellInCells(about.reason);
    }
    if (!about?.kept) {
      return;
    }
    const open = (path: string): void => {
      documents.openOrReveal(path, undefined, undefined, undefined, { shouldStart: false });
    };
    const attend = (panel: NotebookPanel): void => {
      const following = new Following(panel, contents, serverSettings, open);
      panel.disposed.connect(() => following.dispose());
      watchSizes(panel.sessionContext, about.maxMessage);
    };
    tracker.forEach(attend);
    tracker.widgetAdded.connect((_, panel) => attend(panel));
  }
};

const stopNotice: JupyterFrontEndPlugin<void> = {
  id: '@elastichub/lab:stop-notice',
  description: 'Says when the server will be stopped for idleness, and keeps it for another hour',
  autoStart: true,
  activate: (app: JupyterFrontEnd) => {
    // What is emitted before is in JupyterLab's list of notifications, and is not shown.
    void app.restored.then(() => new StopNotice(app.serviceManager.serverSettings));
  }
};

export default [closedPage, stopNotice];
