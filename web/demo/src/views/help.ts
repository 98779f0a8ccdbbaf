import { byId } from '../dom';

/** The help: by its buttons, or the key `?` outside of text fields. */
export function bindHelp(): void {
  const dialog = byId('help', HTMLDialogElement);
  byId('help-open', HTMLElement).addEventListener('click', () => dialog.showModal());
  byId('help-privacy', HTMLElement).addEventListener('click', () => {
    dialog.showModal();
    byId('privacy', HTMLElement).scrollIntoView();
  });
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  addEventListener('keydown', (event) => {
    const typing = event.target instanceof Element && event.target.matches('input[type=text], input[type=search], input[type=url], input[type=number]');
    if (event.key === '?' && !typing && !dialog.open) dialog.showModal();
  });
}
