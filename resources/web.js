const frame = element.querySelector("iframe");
let page = "", drawn = null;
const post = () => drawn && frame.contentWindow.postMessage(drawn, "*"); // the frame has no origin
frame.addEventListener("load", post);
watch("value", () => {
  const value = props.value || {};
  if (value.page === undefined || value.page === page) {
    drawn = value.drawn;
    post();
    return;
  }
  page = value.page;
  drawn = null;
  frame.srcdoc = page;
});
