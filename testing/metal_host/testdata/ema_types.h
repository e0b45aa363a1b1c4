struct ema_params {
  uint length;
  float decay;
};
