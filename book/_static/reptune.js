// A figure's labels are small on a phone: a tap makes the figure larger, another one small again.
document.addEventListener("DOMContentLoaded", () => {
  const phone = window.matchMedia("(max-width: 600px)");
  for (const image of document.querySelectorAll(".bd-article .cell_output img")) {
    const turn = () => {
      if (!phone.matches && !image.classList.contains("enlarged")) return;
      image.classList.toggle("enlarged");
      image.parentElement.classList.add("enlarged-box");
    };
    image.addEventListener("click", turn);
  }
});
