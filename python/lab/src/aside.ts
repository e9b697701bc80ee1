import type { ISharedCodeCell } from '@jupyter/ydoc';
import { Dialog, Notification, showErrorMessage, showDialog } from '@jupyterlab/apputils';
import { ICodeCell, INotebookContent, isCode } from '@jupyterlab/nbformat';
import { NotebookPanel } from '@jupyterlab/notebook';
import { Contents } from '@jupyterlab/services';

const source = (cell: { source: string | string[] }): string =>
  Array.isArray(cell.source) ? cell.source.join('') : cell.source;

const offered = new Map<string, string>(); // notifications that are open, by path

/** Offers what cells of a notebook have printed and its file does not hold, since another program has
 * changed that file: `aside` is the notebook that holds it. */
export function offer(
  aside: string,
  panel: NotebookPanel,
  contents: Contents.IManager,
  open: (path: string) => void
): void {
  if (Notification.manager.has(offered.get(aside) ?? '')) {
    return;
  }
  const words =
    `Another program has changed ${panel.context.localPath}, so it was left alone. ` +
    `What its cells printed while no page had it open is in ${aside}.`;
  /** Acts, and keeps the offer unless that has settled it. */
  const offering = (act: () => Promise<boolean>) => (event: MouseEvent): void => {
    event.preventDefault();
    act().then(
      settled => settled && Notification.dismiss(id),
      error => showErrorMessage('The outputs stay where they are', error as Error)
    );
  };
  const id = Notification.emit(words, 'warning', {
    autoClose: false,
    actions: [
      { label: 'Show', callback: event => (event.preventDefault(), open(aside)) },
      { label: 'Insert', displayType: 'accent', callback: offering(() => insert(aside, panel, contents)) },
      { label: 'Discard', displayType: 'warn', callback: offering(() => discard(aside, contents)) }
    ]
  });
  offered.set(aside, id);
}

async function discard(aside: string, contents: Contents.IManager): Promise<boolean> {
  const answer = await showDialog({
    title: 'Discard outputs?',
    body: `${aside} is deleted.`,
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: 'Discard' })]
  });
  if (answer.button.accept) {
    await contents.delete(aside);
  }
  return answer.button.accept;
}

/** Puts the outputs into the notebook, saves it, and then removes where they were. */
async function insert(aside: string, panel: NotebookPanel, contents: Contents.IManager): Promise<boolean> {
  const { model } = panel.context;
  const { content } = await contents.get(aside, { content: true, type: 'notebook' });
  let after = -1;
  for (const cell of (content as INotebookContent).cells.filter(isCode) as ICodeCell[]) {
    const cells = model.sharedModel.cells;
    const at = cells.findIndex(there => there.id === cell.id);
    const there = cells[at];
    if (there?.cell_type === 'code' && there.getSource() === source(cell)) {
      model.cells.get(at).trusted = true; // it was run here
      (there as ISharedCodeCell).setOutputs(cell.outputs);
      (there as ISharedCodeCell).execution_count = cell.execution_count;
      after = at;
      continue;
    }
    const { id, ...rest } = cell;
    after = (at >= 0 ? at : after >= 0 ? after : cells.length - 1) + 1;
    model.sharedModel.insertCell(after, { ...rest, ...(there ? {} : { id }), metadata: { trusted: true } });
  }
  await panel.context.save();
  if (!model.dirty) {
    await contents.delete(aside);
  }
  return !model.dirty;
}
